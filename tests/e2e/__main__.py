"""Run the tests that need a container runtime, in namespaces of their own: ``python -m tests.e2e [PYTEST ARGUMENTS]``.

Mounts, network, processes, IPC and host name are the run's own; when it ends, the kernel ends whatever it started. What it
shares with the machine are the control groups, below one folder that is removed at the end, and ``build/e2e`` with the logs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.e2e.runtime import CACHE, wait_for

REPOSITORY = Path(__file__).parents[2]
CONTROL_GROUPS = Path("/sys/fs/cgroup")
_PROGRAMS = {
    "containerd": "containerd", "ctr": "containerd", "containerd-shim-runc-v2": "containerd", "runc": "runc",
    "/usr/lib/cni/host-local": "containernetworking-plugins", "/usr/lib/cni/tuning": "containernetworking-plugins",
    "/usr/lib/cni/loopback": "containernetworking-plugins", "ip": "iproute2", "unshare": "util-linux",
}  # fmt: skip
_CONTROLLERS = {"cpu", "cpuset", "memory", "devices", "freezer", "pids", "blkio"}
_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private")


def find_missing() -> list[str]:
    """Say what this machine lacks, one sentence each."""
    missing = [
        f"{program} is not installed: sudo apt-get install {package}"
        for program, package in _PROGRAMS.items()
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    ]
    if os.geteuid() != 0:
        missing.append("containerd and namespaces need root: sudo make e2e")
    if os.uname().machine != "x86_64":
        missing.append(f"the pods' image is for x86_64; this machine is {os.uname().machine}")
    if "\toverlay\n" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        missing.append("the kernel has no overlayfs: modprobe overlay")
    if lacking := _lacking_controllers():
        missing.append(f"control groups without {', '.join(sorted(lacking))}: runc needs them, in version 1 or 2")
    return missing


def _lacking_controllers() -> set[str]:
    unified = CONTROL_GROUPS / "cgroup.controllers"
    if unified.exists():
        # In version 2 devices and freezer are no controllers, and blkio is called io.
        return (_CONTROLLERS - {"devices", "freezer", "blkio"}) - set(unified.read_text(encoding="ascii").split())
    return {name for name in _CONTROLLERS if not (CONTROL_GROUPS / name / "cgroup.procs").exists()}


def main(arguments: list[str]) -> int:
    """Run the tests; return pytest's exit code."""
    if missing := find_missing():
        print(*(f"error: {sentence}" for sentence in missing), sep="\n", file=sys.stderr)
        return 2
    group = f"dpukit-e2e-{os.getpid()}"
    inside = [sys.executable, "-m", "tests.e2e.inside", group, *arguments]
    (REPOSITORY / "build/e2e").mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    makes_cache = not CACHE.exists()
    CACHE.mkdir(parents=True, exist_ok=True)  # to mount over it
    try:
        return subprocess.run(["unshare", *_NAMESPACES, *inside], cwd=REPOSITORY, check=False).returncode
    finally:
        # After a kill the kernel is still at it: a group with processes in it cannot be removed.
        wait_for(lambda: _remove_groups(group), "the pods' processes to end")
        if makes_cache:
            CACHE.rmdir()


def _remove_groups(name: str) -> bool:
    """Remove the control groups; tell whether all are gone."""
    tops = [top / name for top in (CONTROL_GROUPS, *CONTROL_GROUPS.iterdir()) if top.is_dir()]
    for top in tops:
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
    return not any(top.exists() for top in tops)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
