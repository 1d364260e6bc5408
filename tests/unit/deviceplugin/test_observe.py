"""PFs and VFs as a folder of sysfs' shape shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deviceplugin.observe import read_host, read_pfs
from sriov.kernel.sysfs import Sysfs
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf


class Modes:
    def read_eswitch_modes(self) -> Mapping[str, str]:
        return {"pci/0000:02:00.0": "switchdev"}


def test_eswitch_modes_are_those_devlink_tells(tmp_path: Path) -> None:
    FakeSysfs(tmp_path / "sys", FakePf("0000:01:00.0", "ens1f0"), FakePf("0000:02:00.0", "ens2f0"))
    sysfs = Sysfs(tmp_path / "sys")
    assert [pf.eswitch_mode for pf in read_pfs(sysfs, Modes())] == [None, "switchdev"]
    assert [pf.eswitch_mode for pf in read_pfs(sysfs, None)] == [None, None]


def test_functions_come_with_the_state_of_their_network_devices(tmp_path: Path) -> None:
    vfs = (FakeVf("0000:01:10.0", "v0"), FakeVf("0000:01:10.2"), FakeVf("0000:01:10.4", driver=None))
    FakeSysfs(tmp_path / "sys", FakePf("0000:01:00.0", "ens1f0", vfs, mtu=9000))
    (pf,) = read_host(Sysfs(tmp_path / "sys"), None)
    assert pf.state
    assert (pf.state.mtu, pf.state.up, pf.state.carrier) == (9000, True, True)
    assert [vf.state.name if vf.state else None for vf in pf.vfs] == ["v0", None, None]
    assert [vf.is_away for vf in pf.vfs] == [False, True, False]
    assert pf.function.vf_device == "10ca"
