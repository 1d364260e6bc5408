"""Network namespaces and batches of ip and tc. One process per batch: under emulation each process costs 0.1 s and more."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class CommandError(Exception):
    """A command failed; the text has its words and what it said."""


def run(
    command: Sequence[str], *, netns: str | None = None, stdin: str | None = None, env: dict[str, str] | None = None
) -> str:
    """Run a command, in a namespace if one is given, and return what it printed."""
    words = [*(("ip", "netns", "exec", netns) if netns else ()), *command]
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False
    )
    if done.returncode != 0:
        raise CommandError(
            f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def ip(lines: Iterable[str], *, netns: str | None = None) -> None:
    """Run `ip` commands, one per line, in one process."""
    _batch(["ip", *(("-netns", netns) if netns else ())], lines)


def tc(lines: Iterable[str], *, netns: str | None = None) -> None:
    """Run `tc` commands, one per line, in one process."""
    _batch(["tc", *(("-netns", netns) if netns else ())], lines)


def _batch(command: Sequence[str], lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    if text:
        run([*command, "-batch", "-"], stdin=text)


def show(command: str, *, netns: str | None = None) -> Any:  # noqa: ANN401 (whatever iproute2 says)
    """Return what an iproute2 command says in JSON: ``show("ip -d link")``; ip, tc, bridge and devlink alike."""
    program, *rest = command.split()
    enter = () if netns is None else ("-N" if program == "devlink" else "-netns", netns)
    return json.loads(run([program, *enter, "-j", *rest]) or "[]")


@contextlib.contextmanager
def entered(netns: str) -> Iterator[None]:
    """Put this thread into a namespace for a while."""
    with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{netns}").open() as there:
        _set_netns(there.fileno())
        try:
            yield
        finally:
            _set_netns(home.fileno())


def _set_netns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET) != 0:  # os.setns came with Python 3.12 only
        raise OSError(ctypes.get_errno(), "setns failed")
