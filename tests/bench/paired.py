"""Time several sides in one run, turn by turn, and tell their ratios turn by turn: the only figures that survive a noisy machine."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.call import Cost


@dataclass(frozen=True, slots=True)
class Refusal:
    """A side does not offer something; the text is its own."""

    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One side: its name, and one turn of its work, which answers what each part of it cost."""

    name: str
    turn: Callable[[], Mapping[str, Cost | Refusal]]


@dataclass(frozen=True, slots=True)
class Bound:
    """What is promised: the median of `ours` divided by `theirs`, turn by turn, is at most `ratio`."""

    ours: str
    theirs: str
    ratio: float | None = None
    """None: nothing is promised, the ratio is only told."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The costs of each side, by part (a verb) and side, turn by turn."""

    sides: Sequence[str]
    costs: Mapping[str, Mapping[str, Sequence[Cost]]]
    refusals: Mapping[str, Mapping[str, str]]

    def ratios(self, part: str, ours: str, theirs: str) -> list[float]:
        """Ours divided by theirs in wall time, for each turn."""
        pairs = zip(self.costs[part][ours], self.costs[part][theirs], strict=True)
        return [one.wall / other.wall for one, other in pairs]

    def cpu_ratio(self, part: str, ours: str, theirs: str) -> float:
        """Ours divided by theirs in CPU time, of the whole run: a daemon's share is too coarse turn by turn."""
        one, other = (sum(cost.cpu for cost in self.costs[part][side]) for side in (ours, theirs))
        return one / other


def compare(sides: Sequence[Side], *, turns: int, warm_up: int = 2) -> Comparison:
    """Let each side have its `turns`; which one goes first changes with every turn."""
    costs: dict[str, dict[str, list[Cost]]] = {}
    refusals: dict[str, dict[str, str]] = {}
    for turn in range(-warm_up, turns):
        first = turn % len(sides)
        for side in (*sides[first:], *sides[:first]):
            for part, cost in side.turn().items():
                if isinstance(cost, Refusal):
                    refusals.setdefault(part, {})[side.name] = cost.text
                elif turn >= 0:
                    costs.setdefault(part, {}).setdefault(side.name, []).append(cost)
    return Comparison([side.name for side in sides], costs, refusals)


def describe_machine() -> str:
    """Say on what machine this ran, and how busy it was."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}, Python {python}, load {load:.1f}"


def report(title: str, part: str, comparison: Comparison, bounds: Sequence[Bound]) -> str:
    """Render one part of a comparison: a line for each side, and one for each ratio."""
    costs = comparison.costs.get(part, {})
    turns = max((len(series) for series in costs.values()), default=0)
    lines = [f"{part}, {title} ({turns} turns)"]
    refusals = comparison.refusals.get(part, {})
    lines += [f"  {side:30} {describe(costs[side])}" for side in comparison.sides if side in costs]
    lines += [f"  {side:30} does not offer it: {refusals[side]}" for side in comparison.sides if side in refusals]
    lines += [_ratio(part, comparison, bound) for bound in bounds if {bound.ours, bound.theirs} <= costs.keys()]
    return "\n".join(lines)


def describe(series: Sequence[Cost]) -> str:
    """Render the costs of one side."""
    wall, cpu = ([getattr(cost, kind) * 1000 for cost in series] for kind in ("wall", "cpu"))
    return (
        f"wall median {statistics.median(wall):8.2f}  p95 {percentile(wall, 95):8.2f} ms"
        f"   CPU mean {statistics.fmean(cpu):7.2f}  median {statistics.median(cpu):7.2f}  p95 {percentile(cpu, 95):7.2f} ms"
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def _ratio(part: str, comparison: Comparison, bound: Bound) -> str:
    ratios = comparison.ratios(part, bound.ours, bound.theirs)
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratio, ratio, ratio)
    verdict = (
        "" if bound.ratio is None else f"   bound {bound.ratio:.2f}: {'held' if ratio <= bound.ratio else 'MISSED'}"
    )
    cpu = comparison.cpu_ratio(part, bound.ours, bound.theirs)
    names = f"{bound.ours} ÷ {bound.theirs}"
    return f"  {names:44} wall {ratio:5.2f} (quartiles {low:.2f} to {high:.2f})  CPU {cpu:5.2f}{verdict}"
