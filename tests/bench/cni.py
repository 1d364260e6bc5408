"""The CNI calls as a runtime makes them, whole processes, side by side on the same devices.

A turn of a side is ADD, CHECK, STATUS and DEL of one device, each timed by itself; sides take turns. Beside the plugins: a
bare interpreter, which the quick verbs are measured against, and one `ip` command that moves the device, names it and sets
it up, as the floor below which no process gets.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from cni.install import install, render_executable
from tests.bench.call import Call, Cost
from tests.bench.paired import Bound, Refusal, Side, compare, report
from tests.bench.place import Device, Place

HOST_DEVICE = Path("/usr/lib/cni/host-device")
BOUND_QUICK, BOUND_ATTACH = 1.4, 0.7
SERVED, ALONE, DEBIAN, PEER, FLOOR, BARE = (
    "dpukit with dpukit-node", "dpukit alone", "host-device", "sriov-cni", "ip link", "python3 -I -S -c pass",
)  # fmt: skip
VERBS = ("ADD", "CHECK", "STATUS", "DEL")
_VARIABLES = {"PATH": os.environ["PATH"], "CNI_PATH": "/usr/lib/cni"}


class BenchError(Exception):
    """A call failed that has to succeed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin as it is called.

    Args:
        name: the side's.
        program: its executable.
        folder: for what is passed to it and what it says.
        variables: of its environment, besides the runtime's.
        ipam: the key of that name in its configuration; None for none.
        daemon: the process that works for it, if there is one.
    """

    name: str
    program: Path
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    ipam: Mapping[str, object] | None = None
    daemon: int | None = None

    def call(self, verb: str, device: Device, *, previous: object = None) -> Call:
        """Word a call, as a runtime does."""
        kinds: dict[str, dict[str, object]] = {
            HOST_DEVICE.name: {"type": "host-device", "device": device.netdev},
            "sriov": {"type": "sriov", "deviceID": device.address},
        }
        config: dict[str, object] = {
            "cniVersion": "1.1.0" if verb == "STATUS" else "1.0.0", "name": "bench",
            **kinds.get(self.program.name, {"type": "dpukit", "deviceID": device.address}),
        }  # fmt: skip
        if self.ipam is not None:
            config["ipam"] = self.ipam
        if previous is not None:
            config["prevResult"] = previous
        names = {"CNI_COMMAND": verb, "CNI_CONTAINERID": device.pod, "CNI_IFNAME": "net1", "CNI_NETNS": device.netns}
        stdin = self.folder / f"{verb}-{device.pod}.json"
        stdin.write_text(json.dumps(config), encoding="utf-8")
        said = self.folder / f"{verb}-{device.pod}.out"
        return Call([str(self.program)], {**_VARIABLES, **self.variables, **names}, stdin, said)

    def turn(self, device: Device) -> dict[str, Cost | Refusal]:
        """Make one turn."""
        costs: dict[str, Cost | Refusal] = {}
        previous: object = None
        for verb in VERBS:
            call = self.call(verb, device, previous=previous)
            status, cost = call.run(daemon=self.daemon)
            said = call.stdout.read_text(encoding="utf-8")
            if status == 0:
                costs[verb] = cost
            elif verb in ("ADD", "DEL"):
                raise BenchError(f"{self.name}, {verb} of {device.netdev}: exit {status}: {said}")
            else:
                costs[verb] = Refusal(_sentence(said))
            if verb == "ADD":
                previous = json.loads(said)
        return costs


def _sentence(said: str) -> str:
    error = json.loads(said or "{}")
    return (
        f"code {error.get('code')}: {error.get('msg')}{'; ' if error.get('details') else ''}{error.get('details', '')}"
    )


class Bench:
    """What the sides need, in `folder`, an empty folder, for the devices of `place`."""

    def __init__(self, folder: Path, place: Place, *, peer: Path | None = None) -> None:
        self.folder, self.place, self.peer = folder, place, peer
        text = render_executable(python=os.path.realpath(sys.executable))
        self.ours = install(folder / "bin", name="dpukit", text=text)

    def roots(self, name: str) -> dict[str, str]:
        """The roots of a node of ours: those with a daemon and without one know nothing of each other."""
        own = {"DPUKIT_STATE": str(self.folder / name / "state"), "DPUKIT_RUN": str(self.folder / name / "run")}
        return {**self.place.roots, **own}

    @contextmanager
    def daemon(self) -> Iterator[int]:
        """Run dpukit-node. Gives its process id."""
        roots = self.roots("served")
        log, socket = self.folder / "node.log", Path(roots["DPUKIT_RUN"]) / "node.sock"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [sys.executable, "-m", "cni.daemon"], env={**os.environ, **roots}, stdout=out, stderr=out
            ) as process,
        ):
            try:
                end = time.monotonic() + 60
                while not socket.exists():
                    if process.poll() is not None or time.monotonic() > end:
                        raise BenchError(f"dpukit-node does not start: {log.read_text(encoding='utf-8')}")
                    time.sleep(0.05)
                yield process.pid
            finally:
                process.terminate()

    def plugins(self, daemon: int, *, ipam: bool) -> list[Plugin]:
        """The plugins that are here."""
        found = [
            Plugin(SERVED, self.ours, self._files("served"), self.roots("served"), daemon=daemon),
            Plugin(ALONE, self.ours, self._files("alone"), self.roots("alone")),
            Plugin(DEBIAN, HOST_DEVICE, self._files("host-device")),
        ]
        if self.peer is not None:
            found.append(Plugin(PEER, self.peer, self._files("sriov-cni")))
        return [replace(plugin, ipam=self._host_local(plugin)) for plugin in found] if ipam else found

    def _files(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _host_local(self, plugin: Plugin) -> Mapping[str, object]:
        ranges = [[{"subnet": "10.9.0.0/16"}]]
        return {"type": "host-local", "dataDir": str(plugin.folder / "ipam"), "ranges": ranges}

    def quick(self, plugin: Plugin, verb: str) -> Mapping[str, Cost]:
        """Call a verb that touches nothing."""
        status, cost = plugin.call(verb, self.place.devices[0]).run(daemon=plugin.daemon)
        if status != 0:
            raise BenchError(f"{plugin.name}, {verb}: exit {status}")
        return {verb: cost}

    def bare(self, verb: str) -> Mapping[str, Cost]:
        """Start an interpreter, for nothing."""
        empty = Path(os.devnull)
        words = [os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
        _, cost = Call(words, _VARIABLES, empty, self.folder / "bare.out").run()
        return {verb: cost}

    def floor(self, verb: str, device: Device) -> Call:
        """Word the bare move of a device into its pod (ADD) or home again (DEL): one message of one process."""
        words = ["ip", "link", "set", "dev", device.netdev, "netns", device.pod, "name", "net1", "up"]
        if verb == "DEL":
            home = ["netns", self.place.home, "name", device.netdev]
            words = ["ip", "-n", device.pod, "link", "set", "dev", "net1", *home]
        return Call(words, _VARIABLES, Path(os.devnull), self._files("ip") / f"{device.pod}.out")

    def turn_of_floor(self) -> Mapping[str, Cost]:
        """Move a device there and back."""
        costs: dict[str, Cost] = {}
        for verb in ("ADD", "DEL"):
            call = self.floor(verb, self.place.devices[0])
            status, costs[verb] = call.run()
            if status != 0:
                log = Path(f"{call.stdout}.log").read_text(encoding="utf-8")
                raise BenchError(f"{' '.join(call.words)}: exit {status}: {log}")
        return costs


def run(bench: Bench, *, turns: int) -> None:
    """Print every comparison of single calls."""
    with bench.daemon() as daemon:
        served = bench.plugins(daemon, ipam=False)[0]
        for verb in ("VERSION", "STATUS"):
            sides = [Side(SERVED, partial(bench.quick, served, verb)), Side(BARE, partial(bench.bare, verb))]
            found = compare(sides, turns=turns)
            print(report("nothing else", verb, found, [Bound(SERVED, BARE, BOUND_QUICK)]), flush=True)
        for ipam in (False, True):
            _compare_attaching(bench, bench.plugins(daemon, ipam=ipam), turns=turns, ipam=ipam)


def _compare_attaching(bench: Bench, plugins: Sequence[Plugin], *, turns: int, ipam: bool) -> None:
    device = bench.place.devices[0]
    sides = [Side(plugin.name, partial(plugin.turn, device)) for plugin in plugins]
    if not ipam:
        sides.append(Side(FLOOR, bench.turn_of_floor))
    found = compare(sides, turns=turns)
    title = f"{bench.place.title}, IPAM {'host-local' if ipam else 'none'}"
    for verb in VERBS:
        print(report(title, verb, found, list(_bounds(verb))), flush=True)


def _bounds(verb: str) -> Iterator[Bound]:
    promised = BOUND_ATTACH if verb in ("ADD", "DEL") else None
    for theirs in (DEBIAN, PEER, FLOOR):
        yield Bound(SERVED, theirs, promised if theirs != FLOOR else None)
        yield Bound(ALONE, theirs)
    # How much of a peer's call is the kernel's own, and one process: what no plugin gets below.
    yield Bound(FLOOR, DEBIAN)
