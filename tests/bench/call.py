"""One program's run, as it costs: wall time, and the CPU time of it, of what it started, and of the daemon that worked for it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SETTLE_S = 0.003
"""A daemon answers before it is quite done (log, metrics): what it does after its answer is the call's as well."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call took, in seconds."""

    wall: float
    cpu: float
    """User and system time, of all processes that had a part in it. What the kernel does later, for nobody, is not in it."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is run: standard input comes from a file and output goes to one, the same for every side."""

    words: Sequence[str]
    environment: Mapping[str, str]
    stdin: Path
    stdout: Path

    def start(self) -> int:
        """Start it. Returns its process id, which the caller waits for."""
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(self.stdin), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.stdout), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, f"{self.stdout}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ]
        return os.posix_spawnp(self.words[0], list(self.words), dict(self.environment), file_actions=actions)

    def run(self, *, daemon: int | None = None) -> tuple[int, Cost]:
        """Run it. Returns its exit status and its cost.

        Args:
            daemon: the process that works for it, if there is one.
        """
        before = cpu_of(daemon)
        began = time.perf_counter()
        _, status, usage = os.wait4(self.start(), 0)
        wall = time.perf_counter() - began
        if daemon is not None:
            time.sleep(_SETTLE_S)
        cpu = usage.ru_utime + usage.ru_stime + cpu_of(daemon) - before
        return os.waitstatus_to_exitcode(status), Cost(wall, cpu)


def cpu_of(process: int | None) -> float:
    """The CPU seconds that a process has used, with those of its children that ended; 0 for no process.

    Its own by its CPU clock (man 3 clock_getcpuclockid; the number is made as there), to the nanosecond; those of its
    children by ``/proc/PID/stat``, in ticks of 10 ms, which is why means are told beside medians.
    """
    if process is None:
        return 0.0
    own = time.clock_gettime((~process << 3) | 2)
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return own + (int(fields[13]) + int(fields[14])) / _TICKS
