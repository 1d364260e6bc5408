"""One CNI call from raw bytes: any bytes and any environment are answered, with a result or an error, and nothing else.

The input's form: lines ``CNI_...=...``, an empty line, standard input. Run by `tests.fuzz` under libFuzzer (atheris), which
mutates what reached new code; or without it, to perform a folder of inputs once: ``python -m tests.fuzz.target --replay``.

Where it may (as root) the process has network namespaces of its own, with a veth end as VF: an ADD that is right then
does its work, and is undone by a DEL that must bring the VF home.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
VF, PF = "0000:03:10.0", "0000:03:00.0"
_CLONE_NEWNET = 0x40000000

# These name files to be written. Nothing on the machine that fuzzes may be named by chance.
_WRITES = {"logfile", "cnideviceinfofile"}
_HARMLESS = ("", "/dev/null", None)

PLUGINS: Mapping[str, str] = {
    "good": """echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.1.2/24","gateway":"10.1.1.1"},{"address":"fd00::2/64"}]}'""",
    "four": 'echo \'{"cniVersion":"1.0.0","ips":[{"address":"10.1.1.3/24"}]}\'',
    "bad": "echo '{\"ips\": [{}]}'",
    "fail": 'echo \'{"code": 11, "msg": "no"}\'; exit 1',
}


def parse(data: bytes) -> tuple[dict[str, str], bytes | None]:
    """Read one input: the caller's variables, and standard input (None: unreadable)."""
    head, blank, stdin = data.partition(b"\n\n")
    environment = {}
    # No environment has a NUL in it.
    for line in head.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n"):
        name, _, value = line.partition("=")
        if name.startswith("CNI_"):
            environment[name] = value
    return environment, stdin if blank else None


def names_a_file(document: object) -> bool:
    """Tell whether a configuration would have a file written whose name came about by chance."""
    if isinstance(document, Mapping):
        named = any(str(key).lower() in _WRITES and value not in _HARMLESS for key, value in document.items())
        return named or any(names_a_file(value) for value in document.values())
    return isinstance(document, list) and any(names_a_file(value) for value in document)


@dataclass
class Ground:
    """A node on which any call may be performed."""

    node: object
    caller: type
    folder: Path
    pod: int | None
    """A descriptor of a pod's namespace; None where the machine lets us have none."""
    said: int
    """A descriptor of the file that standard output is."""

    def perform(self, environment: Mapping[str, str], stdin: bytes | None) -> tuple[bytes, int]:
        from cni.perform import perform

        netns = {"pod": self.pod, "file": self.said}.get(environment.get("CNI_NETNS", ""))
        # CNI_PATH names programs that are run: never the machine's own.
        path = {"CNI_PATH": str(self.folder / "plugins")} if environment.get("CNI_PATH") else {}
        answer = perform(self.caller({**environment, **path}, stdin, netns), self.node)
        return answer.text, answer.status


def check(ground: Ground, data: bytes) -> None:
    """Perform one input, and what must follow; an AssertionError, or any other exception, is a finding."""
    environment, stdin = parse(data)
    try:
        document = json.loads(stdin or b"")
    except (ValueError, RecursionError):
        document = None
    if names_a_file(document):
        return
    text, status = ground.perform(environment, stdin)
    verb = environment.get("CNI_COMMAND")
    if status == 0:
        assert verb in ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"), verb
        assert bool(text) == (verb in ("ADD", "VERSION"))
    else:
        assert status == 1
        said = json.loads(text)
        assert isinstance(said["code"], int)
        assert 0 < said["code"] != 999, said
        assert said["msg"]
    if text:
        assert json.loads(text)["cniVersion"]
        assert text.count(b"\n") == 1
    assert os.fstat(ground.said).st_size == 0, "something was printed"
    if verb == "ADD" and status == 0:
        text, status = ground.perform({**environment, "CNI_COMMAND": "DEL"}, stdin)
        assert (text, status) == (b"", 0), text
    assert ground.pod is None or _home_has("vf0"), "the VF is lost"
    assert not list((ground.folder / "state").glob("vfs/*")), "the VF is somebody's"
    # Addresses that the plugin does not take back keep their record.
    for path in (ground.folder / "state").glob("attachments/*"):
        path.unlink()


def _home_has(name: str) -> bool:
    from sriov.kernel.link import Links, open_rtnetlink

    with open_rtnetlink(subject="fuzz") as netlink:
        return Links(netlink).find(name) is not None


def lay_ground(stack: ExitStack) -> Ground:
    """Prepare the node. Not to be undone: it is this process' own."""
    from cni.perform import Caller, read_node
    from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

    folder = Path(
        stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    )
    pod = _make_namespaces()
    sysfs = FakeSysfs(folder / "sys", FakePf(PF, "pf0", (FakeVf(VF, "vf0"), FakeVf("0000:03:10.1", None, "vfio-pci"))))
    (folder / "plugins").mkdir()
    for name, script in PLUGINS.items():
        (folder / "plugins" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "plugins" / name).chmod(0o755)
    node = replace(read_node(sysfs=sysfs.root, state=folder / "state"), ipam_deadline_s=10)
    said = os.memfd_create("stdout")
    os.dup2(said, 1)
    logging.disable()
    return Ground(node, Caller, folder, pod, said)


def _make_namespaces() -> int | None:
    """Make a home with a VF, which is from now on this process' own namespace, and a pod's; return the latter."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        return None
    pod = os.open("/proc/self/ns/net", os.O_RDONLY)
    # Nobody is there to have the same address: asking for a second each time would be most of the work.
    Path("/proc/sys/net/ipv6/conf/default/dad_transmits").write_text("0")
    libc.unshare(_CLONE_NEWNET)
    lines = "link add vf0 type veth peer name wire0\nlink add pf0 type veth peer name pf0x\nlink set wire0 up\n"
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    return pod


def main() -> None:
    """Fuzz with libFuzzer's arguments, or replay files once."""
    with ExitStack() as stack:
        if sys.argv[1:2] == ["--replay"]:
            ground = lay_ground(stack)
            for path in sorted(path for name in sys.argv[2:] for path in Path(name).iterdir()):
                print(path, file=sys.stderr)
                check(ground, path.read_bytes())
            return
        import atheris

        with atheris.instrument_imports(include=["cni", "sriov"]):
            ground = lay_ground(stack)
        folder = ground.folder

        def perform_one(data: bytes) -> None:
            try:
                check(ground, data)
            except BaseException:
                # atheris would tell standard output, which is watched here.
                traceback.print_exc()
                raise

        atheris.Setup(sys.argv, perform_one)
        try:
            atheris.Fuzz()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
