"""Many ADDs at once, as after a node's reboot: each on a device and into a pod of its own."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.call import Call
from tests.bench.cni import ALONE, FLOOR, SERVED, Bench, BenchError
from tests.bench.paired import percentile
from tests.bench.place import Device

BOUND = 3.0
BOUND_MIB = 60


@dataclass(frozen=True, slots=True)
class Crowd:
    """What came of the calls that were started at once."""

    seconds: Sequence[float]
    """From the start of the first to the end of each: a runtime's pods wait from the same moment."""
    own: Sequence[float]
    """From each one's own start to its end."""
    failed: Sequence[str]


def run_at_once(calls: Sequence[Call]) -> Crowd:
    """Start all, wait for all."""
    began: dict[int, tuple[float, Call]] = {}
    first = time.perf_counter()
    for call in calls:
        now = time.perf_counter()
        began[call.start()] = (now, call)
    seconds, own, failed = [], [], []
    for _ in calls:
        process, status = _wait_for_any(began)
        now = time.perf_counter()
        start, call = began.pop(process)
        seconds.append(now - first)
        own.append(now - start)
        if status != 0:
            failed.append(call.stdout.read_text(encoding="utf-8").strip() or f"exit {status}")
    return Crowd(seconds, own, failed)


def _wait_for_any(ours: dict[int, tuple[float, Call]]) -> tuple[int, int]:
    while True:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if found is None or found.si_pid not in ours:
            raise BenchError("another child of the benchmark ended: dpukit-node?")
        process, status = os.waitpid(found.si_pid, 0)
        return process, os.waitstatus_to_exitcode(status)


@dataclass(frozen=True, slots=True)
class Contender:
    """Who is timed: its name, and its call of a verb for a device."""

    name: str
    word: Callable[[str, Device], Call]


def run(bench: Bench, *, rounds: int) -> None:
    """Print what each plugin makes of it; in its own process dpukit has one round, for it takes long."""
    devices = bench.place.devices
    with bench.daemon() as daemon:
        for ipam in (False, True):
            plugins = [one for one in bench.plugins(daemon, ipam=ipam) if not (ipam and one.name == ALONE)]
            contenders = [Contender(plugin.name, plugin.call) for plugin in plugins]
            if not ipam:
                contenders.append(Contender(FLOOR, bench.floor))
            print(
                f"{len(devices)} ADDs at once, {bench.place.title}, IPAM {'host-local' if ipam else 'none'}", flush=True
            )
            results = [_measure(one, devices, rounds=1 if one.name == ALONE else rounds) for one in contenders]
            print("\n".join(line for result in results for line in _render(result, results)), flush=True)
        peak = _peak_mib(daemon)
        verdict = "held" if peak <= BOUND_MIB else "MISSED"
        print(f"dpukit-node: {peak:.1f} MiB resident at most   bound {BOUND_MIB}: {verdict}", flush=True)


def _peak_mib(process: int) -> float:
    """The most that a process has had resident (man 5 proc_pid_status, VmHWM)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


@dataclass(frozen=True, slots=True)
class Result:
    """What a contender made of it, in seconds."""

    name: str
    single: float
    """The median of single ADDs right before."""
    crowds: Sequence[Crowd]

    @property
    def total(self) -> float:
        """From the first start to the last end: the median of all rounds."""
        return statistics.median(max(crowd.seconds) for crowd in self.crowds)


def _measure(one: Contender, devices: Sequence[Device], *, rounds: int) -> Result:
    single = statistics.median(_single(one, devices[0]) for _ in range(9))
    crowds = []
    for _ in range(rounds):
        crowds.append(run_at_once([one.word("ADD", device) for device in devices]))
        undone = run_at_once([one.word("DEL", device) for device in devices])
        if undone.failed and not crowds[-1].failed:
            raise BenchError(f"{one.name}: DEL failed: {undone.failed[0]}")
    return Result(one.name, single, crowds)


def _render(result: Result, results: Sequence[Result]) -> Iterator[str]:
    own = [value for crowd in result.crowds for value in crowd.own]
    failed = [text for crowd in result.crowds for text in crowd.failed]
    ratio = percentile(own, 99) / result.single
    each = result.total / len(result.crowds[0].own)
    yield (
        f"  {result.name:26} single {_ms(result.single)}   median {_ms(statistics.median(own))}"
        f"   p99 {_ms(percentile(own, 99))}   all done after {_ms(result.total)}, {each * 1000:.2f} ms each"
        f"   errors {len(failed)}   ({len(result.crowds)} rounds)"
    )
    yield from (f"    {text}" for text in sorted(set(failed))[:3])
    verdict = ""
    if result.name == SERVED:
        verdict = f"   bound {BOUND:.1f} and no error: {'held' if ratio <= BOUND and not failed else 'MISSED'}"
    yield f"    p99 ÷ its own single {ratio:6.2f}{verdict}"
    if result.name == SERVED:
        others = (other for other in results if other.name != SERVED)
        yield "    all done: " + "   ".join(f"÷ {other.name} {result.total / other.total:.2f}" for other in others)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:8.2f} ms"


def _single(one: Contender, device: Device) -> float:
    costs = []
    for verb in ("ADD", "DEL"):
        call = one.word(verb, device)
        status, cost = call.run()
        if status != 0:
            raise BenchError(
                f"{one.name}, {verb} of {device.netdev}: exit {status}: {call.stdout.read_text(encoding='utf-8')}"
            )
        costs.append(cost.wall)
    return costs[0]
