"""The guard of the unit layer: a unit test that reaches for the outside world fails, and says how.

An audit hook (PEP 578) sees sockets, processes and files whoever opens them. It is armed only while a test below
``tests/unit`` runs; the other layers are for exactly these things.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_UNIT = Path(__file__).parent / "unit"
_FORBIDDEN_EVENTS = (
    "socket.__new__",
    "socket.connect",
    "socket.bind",
    "subprocess.Popen",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.exec",
    "os.system",
)
_FORBIDDEN_FOLDERS = ("/sys/", "/proc/", "/var/lib/cni", "/var/lib/dpukit", "/run/dpukit")

_guard: dict[str, bool] = {"armed": False}


class OutsideWorldError(AssertionError):
    """A unit test opened a socket, started a process, or read the machine's own state."""


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not _guard["armed"]:
        return
    if event in _FORBIDDEN_EVENTS:
        raise OutsideWorldError(f"a unit test must not do this: {event} {arguments[:2]!r}")
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(_FORBIDDEN_FOLDERS):
        raise OutsideWorldError(f"a unit test must not open {arguments[0]!r}; give the code a folder of the same shape")


sys.addaudithook(_watch)

# The same examples in every run of CI; many more in a nightly one.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("DPUKIT_HYPOTHESIS", "ci"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the closing lines why a run with skipped tests fails."""
    if _forbids_skips() and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("DPUKIT_NO_SKIPS is set and tests were skipped: this run counts as failed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped what it was told it can run (CI)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _forbids_skips() and reporter is not None and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _forbids_skips() -> bool:
    return bool(os.environ.get("DPUKIT_NO_SKIPS"))


@pytest.fixture(autouse=True)
def _no_outside_world(request: pytest.FixtureRequest) -> Iterator[None]:
    _guard["armed"] = request.path.is_relative_to(_UNIT)
    yield
    _guard["armed"] = False
