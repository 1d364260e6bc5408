"""Time two sides in one run, turn by turn, and tell their ratio pair by pair: the only figure that survives a noisy machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Side:
    """One side: its name, and what is timed. `prepare` runs before each turn and `reset` after it, untimed."""

    name: str
    work: Callable[[], None]
    prepare: Callable[[], None] = lambda: None
    reset: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Pairing:
    """The times of two sides, in seconds, turn by turn."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours divided by theirs, for each turn."""
        return tuple(one / other for one, other in zip(self.ours, self.theirs, strict=True))


def pair(ours: Side, theirs: Side, *, turns: int, warm_up: int = 3) -> Pairing:
    """Time both sides `turns` times each; which one goes first changes with every turn."""
    times: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    for turn in range(-warm_up, turns):
        for side in (ours, theirs) if turn % 2 else (theirs, ours):
            side.prepare()
            began = time.perf_counter()
            side.work()
            elapsed = time.perf_counter() - began
            side.reset()
            if turn >= 0:
                times[side.name].append(elapsed)
    return Pairing(tuple(times[ours.name]), tuple(times[theirs.name]))


def describe_machine() -> str:
    """Say on what machine this ran."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}, Python {platform.python_version()}"


def report(title: str, ours: Side, theirs: Side, pairing: Pairing, *, bound: float | None = None) -> str:
    """Render one comparison in a few lines."""
    ratio = statistics.median(pairing.ratios)
    low, high = _spread(pairing.ratios)
    verdict = "" if bound is None else f"   bound {bound:.2f}: {'held' if ratio <= bound else 'MISSED'}"
    return "\n".join(
        [
            f"{title} ({len(pairing.ours)} pairs)",
            f"  {ours.name:32} {_times(pairing.ours)}",
            f"  {theirs.name:32} {_times(pairing.theirs)}",
            f"  ratio {ratio:.2f} (quartiles {low:.2f} to {high:.2f}){verdict}",
        ]
    )


def _times(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return f"median {statistics.median(ordered) * 1000:7.2f} ms   p95 {p95 * 1000:7.2f} ms"


def _spread(values: Sequence[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4)
    return low, high
