"""The CNI calls as a runtime makes them, whole processes, beside a bare interpreter and Debian's host-device.

The stand-in for a VF is a veth end (host-device moves it by name, dpukit finds it by PCI address in a folder of sysfs'
shape); both sides move the same device into the same namespace. No IPAM on either side. Run in a namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cni.install import find_library, install, render_executable
from tests.bench.paired import Side, pair, report
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

HOST_DEVICE = Path("/usr/lib/cni/host-device")
VF, NETDEV = "0000:03:10.0", "benchvf0"
BOUND_QUICK, BOUND_ATTACH = 1.4, 0.7


class Bench:
    """Everything one side or the other needs, in `folder`.

    Args:
        folder: an empty folder.
        pod: the path of the pod's namespace.
    """

    def __init__(self, folder: Path, pod: str) -> None:
        self.pod = pod
        FakeSysfs(folder / "sys", FakePf("0000:03:00.0", "benchpf", (FakeVf(VF, NETDEV),)))
        self.roots = {
            "DPUKIT_SYSFS": str(folder / "sys"),
            "DPUKIT_STATE": str(folder / "state"),
            "DPUKIT_RUN": str(folder / "run"),
        }
        text = render_executable(python=os.path.realpath(sys.executable), library=find_library())
        self.ours = install(folder / "bin", name="dpukit", text=text)
        self.socket = folder / "run" / "node.sock"

    def environment(self, verb: str) -> Mapping[str, str]:
        """What a runtime sets."""
        names = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "bench", "CNI_IFNAME": "net1", "CNI_NETNS": self.pod}
        return {"PATH": os.environ["PATH"], "CNI_PATH": "/usr/lib/cni", **names, **self.roots}

    def call(self, program: Path, verb: str, config: Mapping[str, object]) -> None:
        """Run a plugin once; what it says is an error's text or nothing of interest."""
        stdin = json.dumps({"cniVersion": "1.0.0", "name": "bench", **config})
        done = subprocess.run(
            [program], env=self.environment(verb), input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program.name} {verb}: {done.stdout}{done.stderr}")

    def call_ours(self, verb: str) -> None:
        """Run dpukit."""
        version = "1.1.0" if verb == "STATUS" else "1.0.0"
        self.call(self.ours, verb, {"type": "dpukit", "deviceID": VF, "cniVersion": version})

    def call_theirs(self, verb: str) -> None:
        """Run host-device."""
        self.call(HOST_DEVICE, verb, {"type": "host-device", "device": NETDEV})

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Run dpukit-node."""
        log = self.socket.parent.parent / "node.log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [sys.executable, "-m", "cni.daemon"], env={**os.environ, **self.roots}, stdout=out, stderr=out
            ) as process,
        ):
            try:
                end = time.monotonic() + 30
                while not self.socket.exists():
                    if time.monotonic() > end:
                        raise RuntimeError(f"dpukit-node does not start: {log.read_text(encoding='utf-8')}")
                    time.sleep(0.05)
                yield
            finally:
                process.terminate()


def run(bench: Bench, *, turns: int) -> None:
    """Print every comparison."""
    bare = Side("python3 -I -S -c pass", _run_bare)
    for verb in ("VERSION", "STATUS"):
        with bench.daemon():
            ours = Side(f"dpukit {verb}", partial(bench.call_ours, verb))
            print(report(verb, ours, bare, pair(ours, bare, turns=turns), bound=BOUND_QUICK))
    with bench.daemon():
        _compare_attaching(bench, turns=turns, title="with dpukit-node", bound=BOUND_ATTACH)
    _compare_attaching(bench, turns=max(5, turns // 5), title="in-process, no daemon", bound=None)


def _compare_attaching(bench: Bench, *, turns: int, title: str, bound: float | None) -> None:
    for verb, other in (("ADD", "DEL"), ("DEL", "ADD")):
        ours = _side("dpukit", bench.call_ours, verb, other)
        theirs = _side("host-device", bench.call_theirs, verb, other)
        print(report(f"{verb}, {title}", ours, theirs, pair(ours, theirs, turns=turns), bound=bound))


def _side(name: str, call: Callable[[str], None], verb: str, other: str) -> Side:
    """Time `verb`; the `other` verb makes ready for it, or undoes it."""
    undo = partial(call, other)
    work = partial(call, verb)
    return Side(f"{name} {verb}", work, reset=undo) if verb == "ADD" else Side(f"{name} {verb}", work, prepare=undo)


def _run_bare() -> None:
    subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True, capture_output=True)
