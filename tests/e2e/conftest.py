"""The node that the cases run on: containerd in this run's namespaces, veth ends as devices."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.devices import VethDevices
from tests.e2e.node import REPOSITORY, Node

DEVICES = 20
_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with containerd running and no daemon."""
    group = os.environ.get("DPUKIT_E2E_GROUP")
    if group is None:
        pytest.skip("these cases run in namespaces of their own: make e2e, or python -m tests.e2e")
    folder = tmp_path_factory.mktemp("node")
    devices = VethDevices(folder / "sys", count=DEVICES)
    logs = Path(REPOSITORY / "build/e2e")
    for log in logs.glob("*.log"):
        log.unlink()
    with Node(folder, devices, logs, group).running() as node:
        yield node


@pytest.fixture(params=["daemon", "in-process"])
def node(request: pytest.FixtureRequest, machine: Node) -> Iterator[Node]:
    """A node on which nothing is left, once with its daemon running and once without."""
    if request.param == "daemon":
        machine.start_daemon()
    try:
        yield machine
        machine.check_all_is_undone()
    finally:
        machine.clean_up()


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """A function that puts a line into the run's closing words."""
    return pytestconfig.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures, and of which runtime they are."""
    figures = config.stash.get(_FIGURES, [])
    if figures:
        version = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        terminalreporter.section(version)
        for line in figures:
            terminalreporter.write_line(line)
