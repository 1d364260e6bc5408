"""The whole path, as ``make demo`` runs it: provisioned, advertised, attached, in hardware, and home again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.demo import Demo
from tests.lab.model import Lab
from tests.lab.path import HostNode, python, run
from tests.lab.switch import Switch


@pytest.fixture
def restored(lab: Lab, switches: tuple[Switch, ...]) -> Iterator[None]:
    """Whatever the path left, the PFs are without VFs and the switches without bridges afterwards."""
    yield
    for host in lab.hosts:
        run(*python("dpukit"), "provision", "restore", environment=HostNode(host).environment)


@pytest.mark.usefixtures("restored")
def test_the_demo_ends_with_every_flow_in_hardware_and_every_vf_home() -> None:
    demo = Demo()
    assert demo.run() == 0, demo.wrong
