"""The first process of the run's namespaces: lays out what the tests expect, runs pytest, and reaps whom nobody else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.runtime import CACHE

FOLDER = Path("/run/dpukit-e2e")


def main(group: str, arguments: list[str]) -> int:
    """Run pytest over tests/e2e, or what `arguments` say; return its exit code."""
    for command in (
        ["mount", "-t", "proc", "proc", "/proc"],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
        ["mount", "-t", "tmpfs", "tmpfs", str(CACHE)],
        ["ip", "link", "set", "lo", "up"],
    ):
        subprocess.run(command, check=True)
    FOLDER.mkdir()
    options = ["--basetemp", str(FOLDER / "pytest"), "-p", "no:cacheprovider"]
    given = any(word.startswith("tests/") for word in arguments)
    # Not the folders: what is there needs no runtime, but the machine's own network.
    whole = [] if given else sorted(str(path) for path in Path(__file__).parent.glob("test_*.py"))
    command = [sys.executable, "-m", "pytest", *options, *arguments, *whole]
    environment = os.environ | {"DPUKIT_E2E_GROUP": f"/{group}", "GRPC_ENABLE_FORK_SUPPORT": "0"}
    return _run(command, environment)


def _run(command: list[str], environment: dict[str, str]) -> int:
    child = subprocess.Popen(command, env=environment).pid
    # Shims whose containerd is gone, and what they leave, end up here.
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
