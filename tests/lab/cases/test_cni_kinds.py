"""The CNI plugin on the kinds of VF that need real devices: one that vfio-pci has, one with an RDMA device; and CHECK."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import netns
from tests.lab.fabric import PCI
from tests.lab.model import Lab
from tests.lab.plugin import MAC, Plugin, installed, vlan_of
from tests.lab.vf import Pod, home_netdev, wait_for

VF = 6


@pytest.fixture
def plugin(lab: Lab, vfs: int) -> Iterator[Plugin]:
    folder = Path("/run/cni-kinds")
    yield installed(lab, folder)
    shutil.rmtree(folder)


def bind(pci: str, driver: str) -> None:
    """Give a function another driver, as an administrator would."""
    folder = PCI / pci
    if (folder / "driver").exists():
        (folder / "driver/unbind").write_text(pci)
    (folder / "driver_override").write_text(driver)
    Path("/sys/bus/pci/drivers_probe").write_text(pci)
    assert (folder / "driver").resolve().name == driver


@pytest.fixture
def handed_over(plugin: Plugin) -> Iterator[str]:
    """The address of a VF that vfio-pci has; its network driver gets it back."""
    pci = plugin.host.vf_pci(VF)
    Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode").write_text("1")
    bind(pci, "vfio-pci")
    yield pci
    bind(pci, "igbvf")
    (PCI / pci / "driver_override").write_text("\n")
    wait_for(lambda: home_netdev(plugin.host, VF) is not None, "the VF's netdev")


def test_a_vf_that_vfio_has_gets_its_attributes_and_gives_them_back_at_the_first_del(
    plugin: Plugin, handed_over: str, make_pod: Callable[[str], Pod]
) -> None:
    before = plugin.kept(VF)
    pod = make_pod("cni-a")
    keys: dict[str, Any] = {"mac": MAC, "vlan": 7, "spoofchk": "off", "trust": "on"}
    status, said = plugin.call("ADD", VF, "cni-a", **keys)
    assert status == 0, said
    assert said["interfaces"] == [{"name": "net1", "mac": MAC, "sandbox": str(pod.path), "pciID": handed_over}]
    kept = plugin.kept(VF)
    assert (kept["address"], vlan_of(kept), kept["spoofchk"], kept["trust"]) == (MAC, 7, False, True)
    assert [link["ifname"] for link in netns.show("ip link", netns="cni-a")] == ["lo"]
    assert plugin.call("CHECK", VF, "cni-a", prevResult=said, **keys) == (0, {})
    netns.ip([f"link set {plugin.host.netdev} vf {VF} trust off"])
    status, complaint = plugin.call("CHECK", VF, "cni-a", prevResult=said, **keys)
    assert (complaint["code"], "its PF has trust off, not trust on" in complaint["msg"]) == (103, True), complaint
    assert plugin.call("DEL", VF, "cni-a") == (0, {})
    assert (plugin.kept(VF), plugin.leftovers()) == (before, [])


def test_a_vf_that_vfio_has_is_told_apart_from_one_nobody_has(
    plugin: Plugin, handed_over: str, make_pod: Callable[[str], Pod]
) -> None:
    make_pod("cni-a")
    (PCI / handed_over / "driver/unbind").write_text(handed_over)
    status, said = plugin.call("ADD", VF, "cni-a")
    assert (status, said["code"], "no driver is bound to it" in said["msg"]) == (1, 101, True)


def test_check_compares_what_the_pf_keeps(plugin: Plugin, make_pod: Callable[[str], Pod]) -> None:
    before = plugin.state_of(0)
    make_pod("cni-a")
    keys: dict[str, Any] = {"mac": MAC, "vlan": 7, "mtu": 1400}
    status, said = plugin.call("ADD", 0, "cni-a", **keys)
    assert status == 0, said
    keys |= {"prevResult": said}
    assert plugin.call("CHECK", 0, "cni-a", **keys) == (0, {})
    netns.ip([f"link set {plugin.host.netdev} vf 0 vlan 9"])
    status, complaint = plugin.call("CHECK", 0, "cni-a", **keys)
    assert "its PF has VLAN 9 (qos 0, 802.1q), not VLAN 7 (qos 0, 802.1q)" in complaint["msg"]
    netns.ip([f"link set {plugin.host.netdev} vf 0 vlan 7"])
    assert plugin.call("CHECK", 0, "cni-a", **keys) == (0, {})
    assert plugin.call("DEL", 0, "cni-a") == (0, {})
    assert (plugin.state_of(0), plugin.leftovers()) == (before, [])


def test_addresses_of_both_families_are_usable_when_add_answers(plugin: Plugin, make_pod: Callable[[str], Pod]) -> None:
    before = plugin.state_of(1)
    make_pod("cni-a")
    ranges = [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]]
    ipam = {"type": "host-local", "dataDir": str(plugin.folder / "ipam"), "ranges": ranges}
    status, said = plugin.call("ADD", 1, "cni-a", ipam=ipam)
    assert status == 0, said
    (link,) = netns.show("ip address show net1", netns="cni-a")
    found = {entry["local"]: entry.get("tentative", False) for entry in link["addr_info"] if entry["scope"] == "global"}
    assert found == {"10.9.0.2": False, "fd09::2": False}
    assert plugin.call("CHECK", 1, "cni-a", ipam=ipam, prevResult=said) == (0, {})
    assert plugin.call("DEL", 1, "cni-a", ipam=ipam) == (0, {})
    assert (plugin.state_of(1), plugin.leftovers()) == (before, [])


@pytest.fixture
def with_rdma(plugin: Plugin) -> Iterator[Plugin]:
    """The plugin, while VF 2 has an RDMA device that may go to a pod."""
    wait_for(lambda: home_netdev(plugin.host, 2) is not None, "the VF's netdev")
    netns.run(["insmod", "/lib/dpusim/rdmasim.ko", f"function={plugin.host.vf_pci(2)}"])
    try:
        yield plugin
        wait_for(lambda: "rdmasim0" in rdma_devices(), "the RDMA device to be at home")
    finally:
        netns.run(["rmmod", "rdmasim"])


def rdma_devices(pod: str | None = None) -> str:
    return netns.run(["rdma", "dev", "show"], netns=pod)


def test_an_rdma_device_goes_along_and_comes_home(with_rdma: Plugin, make_pod: Callable[[str], Pod]) -> None:
    before = with_rdma.state_of(2)
    make_pod("cni-a")
    status, said = with_rdma.call("ADD", 2, "cni-a")
    assert status == 0, said
    assert ("rdmasim0" in rdma_devices("cni-a"), "rdmasim0" in rdma_devices()) == (True, False)
    assert with_rdma.call("CHECK", 2, "cni-a", prevResult=said) == (0, {})
    assert with_rdma.call("DEL", 2, "cni-a") == (0, {})
    assert ("rdmasim0" in rdma_devices("cni-a"), "rdmasim0" in rdma_devices()) == (False, True)
    assert (with_rdma.state_of(2), with_rdma.leftovers()) == (before, [])


def test_a_refused_add_leaves_the_rdma_device_at_home(with_rdma: Plugin, make_pod: Callable[[str], Pod]) -> None:
    """The gateway of its route is nowhere: both are in the pod by then."""
    before = with_rdma.state_of(2)
    make_pod("cni-a")
    ipam = {
        "type": "host-local", "dataDir": str(with_rdma.folder / "ipam"), "ranges": [[{"subnet": "10.9.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}],
    }  # fmt: skip
    status, said = with_rdma.call("ADD", 2, "cni-a", ipam=ipam)
    assert (status, said["code"]) == (1, 102), said
    assert "rdmasim0" in rdma_devices()
    assert (with_rdma.state_of(2), with_rdma.leftovers()) == (before, [])
