"""How one call goes: what its phases took, and how long it may still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from sriov.errors import BusyError

DEADLINE_S = 90.0
"""How long a call may take before it is given up. kubelet gives a sandbox four minutes to come and two to go
(``runtimeRequestTimeout``), and the other plugins of the chain want their share."""


class Pace:
    """The phases and the deadline of one call; for one thread at a time.

    Args:
        deadline_s: seconds from now until it is given up.
        clock: tells the time, in seconds from anywhere.
    """

    def __init__(self, *, deadline_s: float = DEADLINE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._began = self._last = clock()
        self._phases: dict[str, float] = {}
        self.restored = 0
        """How many VFs were brought home; whoever does it counts it."""

    def lap(self, phase: str) -> None:
        """Note that `phase` ends now; it began where the one before ended. One that comes twice is added up."""
        now = self._clock()
        self._phases[phase] = self._phases.get(phase, 0.0) + now - self._last
        self._last = now

    @property
    def phases(self) -> Mapping[str, float]:
        """The seconds each phase took, in the order in which they came first."""
        return dict(self._phases)

    @property
    def elapsed_s(self) -> float:
        """The seconds since the call came."""
        return self._clock() - self._began

    def left(self, *, at_most: float) -> float:
        """Return how many seconds may be spent on the next thing: no more than `at_most`, and never less than none."""
        return max(0.0, min(at_most, self._deadline_s - self.elapsed_s))

    def check(self) -> None:
        """Give up a call that has taken too long. Whoever has begun to change something undoes it.

        Raises:
            BusyError: its deadline is over.
        """
        if self.elapsed_s < self._deadline_s:
            return
        slowest = max(self._phases, key=lambda phase: self._phases[phase], default="the first phase")
        raise BusyError(
            "call",
            f"is not done after {self._deadline_s:g} s, most of them in {slowest!r}",
            hint="try again later; the log of dpukit-node tells how long each phase takes",
        )
