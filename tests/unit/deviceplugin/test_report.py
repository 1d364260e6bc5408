"""What people and programs are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deviceplugin.model import HostPf
from deviceplugin.observe import read_host
from deviceplugin.provision.apply import Outcome
from deviceplugin.provision.plan import CreateVfs, PfPlan
from deviceplugin.report import render_devices, render_outcomes, render_plan, tell_pf, tell_steps
from sriov.errors import BusyError
from sriov.kernel.sysfs import Sysfs
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf


@pytest.fixture
def pf(tmp_path: Path) -> HostPf:
    vfs = (FakeVf("0000:01:10.0", "v0"), FakeVf("0000:01:10.2"), FakeVf("0000:01:10.4", driver=None))
    FakeSysfs(tmp_path / "sys", FakePf("0000:01:00.0", "ens1f0", vfs, numa_node=1, carrier=False))
    return read_host(Sysfs(tmp_path / "sys"), None)[0]


def test_devices_are_a_table(pf: HostPf) -> None:
    lines = [line.split() for line in render_devices([pf]).splitlines()]
    assert lines[1] == ["0000:01:00.0", "PF", "ens1f0", "igb", "1", "-", "1500", "no", "carrier", "3/7"]
    assert lines[2] == ["0000:01:10.0", "VF", "0", "v0", "igbvf", "1500", "up"]
    assert lines[3] == ["0000:01:10.2", "VF", "1", "(in", "a", "pod)", "igbvf", "-", "-"]
    assert lines[4] == ["0000:01:10.4", "VF", "2", "-", "-", "-", "-"]


def test_a_host_without_pfs_is_told_in_words() -> None:
    assert render_devices([]) == "no PCI function here can have VFs"


def test_a_pf_is_told_with_every_key(pf: HostPf) -> None:
    told = json.loads(json.dumps(tell_pf(pf)))
    vfs = told.pop("vfs")
    assert told == {
        "address": "0000:01:00.0",
        "netdev": "ens1f0",
        "driver": "igb",
        "vendor": "8086",
        "device": "10c9",
        "vfDevice": "10ca",
        "numaNode": 1,
        "mac": "52:54:00:00:00:01",
        "eswitchMode": None,
        "mtu": 1500,
        "up": True,
        "carrier": False,
        "numVfs": 3,
        "totalVfs": 7,
    }
    assert vfs[1] == {
        "address": "0000:01:10.2",
        "index": 1,
        "netdev": None,
        "driver": "igbvf",
        "inOtherNamespace": True,
        "mtu": None,
        "up": None,
        "carrier": None,
    }


def test_steps_are_told_with_their_reasons(pf: HostPf) -> None:
    step = CreateVfs(pf.address, 7, "policy p wants numVfs 7, the PF has 0")
    line = "0000:01:00.0 (ens1f0): create 7 VFs - policy p wants numVfs 7, the PF has 0"
    assert render_plan([PfPlan(pf, (step,))]) == line
    assert render_plan([PfPlan(pf, ())]) == "0000:01:00.0 (ens1f0): as desired"
    assert render_outcomes([Outcome(pf, (step,))]) == line
    assert render_outcomes([Outcome(pf, ())]) == "0000:01:00.0 (ens1f0): as desired, nothing written"
    assert render_outcomes([Outcome(pf, (), BusyError("x", "y"))]) == "0000:01:00.0 (ens1f0): nothing done"


def test_steps_and_errors_are_told_to_programs(pf: HostPf) -> None:
    step = CreateVfs(pf.address, 7, "why")
    assert tell_steps(pf, [step], BusyError("PF", "busy")) == {
        "pf": "0000:01:00.0",
        "netdev": "ens1f0",
        "steps": [{"step": "create 7 VFs", "reason": "why"}],
        "error": "PF: busy",
    }
