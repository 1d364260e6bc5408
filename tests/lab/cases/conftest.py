"""Fixtures of the tests that run inside the lab. One boot, one topology; each test finds knobs, bridges and pods as at first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.lab import netns, topology
from tests.lab.eswitch import Eswitch, reset_all
from tests.lab.model import LAB, VFS, Lab
from tests.lab.switch import Switch
from tests.lab.vf import Pod, set_vfs, wait_for


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped a test: the machine was made for all of them."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The topology, laid out, and its constants."""
    topology.build()
    return LAB


@pytest.fixture
def eswitches(lab: Lab) -> Iterator[tuple[Eswitch, ...]]:
    """The e-switches of the DPUs; their knobs are turned back afterwards."""
    yield topology.ESWITCHES
    reset_all(topology.ESWITCHES)


@pytest.fixture
def switches(lab: Lab) -> Iterator[tuple[Switch, ...]]:
    """The Open vSwitches of the DPUs, without a bridge; bridges are removed afterwards."""
    yield topology.SWITCHES
    for switch in topology.SWITCHES:
        switch.remove_bridges()


@pytest.fixture(scope="module")
def vfs(lab: Lab) -> Iterator[int]:
    """All VFs of each host, made without the provisioner, while a module's tests run; then none, as at boot."""
    for host in LAB.hosts:
        set_vfs(host, VFS)
    yield VFS
    for host in LAB.hosts:
        set_vfs(host, 0)


@pytest.fixture
def make_pod(lab: Lab) -> Iterator[Callable[[str], Pod]]:
    """A function that makes pods; they are removed afterwards, and what was in them is waited for."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Pod:
            netns.ip([f"netns add {name}"])
            stack.callback(remove_pod, name)
            return Pod(name)

        yield make


def remove_pod(name: str) -> None:
    """Remove a pod if it is still there, and wait until its devices are out: that comes a moment after the removal."""
    pod = Pod(name)
    if not pod.path.exists():
        return
    devices = [link for link in netns.show("ip -d link", netns=name) if "parentdev" in link and link["ifname"] != "lo"]
    netns.ip([f"netns del {name}"])
    gone = {link["parentdev"] for link in devices}
    wait_for(
        lambda: gone <= {link.get("parentdev") for link in netns.show("ip -d link")},
        f"the devices of {name} to come home",
    )
