"""A plugin of pytest's: what tests count or measure stands in the closing lines of the run, whichever process ran them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_NAME = "figure"


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell one line."""
    return lambda text: request.node.user_properties.append((_NAME, text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was told."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    lines = [
        text for report in reports if report.when == "call" for name, text in report.user_properties if name == _NAME
    ]
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write("".join(f"{line}\n" for line in sorted(lines)))
