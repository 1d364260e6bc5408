"""Looking at ports: devlink where the kernel has it, sysfs where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from offload.observe import find_mac, read_switch_ports
from sriov.kernel.devlink import Devlink
from sriov.kernel.sysfs import Sysfs
from sriov.representor import PortName, SwitchPort

pytestmark = pytest.mark.netns


def test_where_devlink_shows_no_port_sysfs_does(tmp_path: Path) -> None:
    if Devlink().read_ports():
        pytest.skip("this machine has an eswitch of its own")
    folder = tmp_path / "class/net/eth3"
    folder.mkdir(parents=True)
    for name, text in (("phys_switch_id", "00aa"), ("phys_port_name", "c1pf0vf3"), ("ifindex", "7")):
        (folder / name).write_text(f"{text}\n")
    name = PortName.parse("c1pf0vf3")
    assert name is not None
    assert read_switch_ports(Sysfs(tmp_path)) == (SwitchPort("00aa", name, "eth3", 7),)


def test_a_device_that_is_not_there_has_no_mac() -> None:
    assert find_mac("no-such-device") == ""
    assert find_mac("lo") in ("00:00:00:00:00:00", "")
