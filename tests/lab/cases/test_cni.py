"""The CNI plugin on real igb VFs: attributes on the PF, a VF that comes home by itself, a daemon that dies."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import netns
from tests.lab.model import Lab
from tests.lab.plugin import MAC, Plugin, daemon_of, installed, vlan_of
from tests.lab.vf import Pod, home_netdev, wait_for


@pytest.fixture
def plugin(lab: Lab, vfs: int) -> Iterator[Plugin]:
    """The plugin without a daemon: each call is performed in the client's own process."""
    folder = Path("/run/cni-test")
    yield installed(lab, folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def served(lab: Lab, vfs: int) -> Iterator[Plugin]:
    """The plugin with its daemon, for the tests with many calls."""
    plugin = installed(lab, Path("/run/cni-served"))
    with daemon_of(plugin) as daemon:
        yield plugin
    assert daemon.returncode == 0
    shutil.rmtree(plugin.folder)


def test_mac_vlan_and_mtu_are_set_and_given_back(plugin: Plugin, make_pod: Callable[[str], Pod]) -> None:
    before = plugin.state_of(0)
    make_pod("cni-a")
    keys: dict[str, Any] = {"mac": MAC, "vlan": 7, "vlanQoS": 3, "mtu": 1400, "spoofchk": "off", "trust": "on"}
    status, said = plugin.call("ADD", 0, "cni-a", **keys)
    assert status == 0, said
    (link,) = netns.show("ip -d link show net1", netns="cni-a")
    assert (link["address"], link["mtu"], link["parentdev"]) == (MAC, 1400, plugin.host.vf_pci(0))
    assert said["interfaces"][0]["mac"] == MAC
    kept = plugin.kept(0)
    assert (kept["address"], vlan_of(kept), kept["spoofchk"], kept["trust"]) == (MAC, 7, False, True)
    assert home_netdev(plugin.host, 0) is None
    assert plugin.call("DEL", 0, "cni-a", **keys) == (0, {})
    assert (plugin.state_of(0), plugin.leftovers()) == (before, [])


def test_the_same_vf_takes_another_address_for_each_next_pod(served: Plugin, make_pod: Callable[[str], Pod]) -> None:
    """igb lets a VF choose its own address only while its PF has set none."""
    before = served.state_of(1)
    make_pod("cni-a")
    for mac in (MAC, "0a:58:0a:01:01:03"):
        status, said = served.call("ADD", 1, "cni-a", mac=mac)
        assert (status, served.kept(1)["address"]) == (0, mac), said
        (link,) = netns.show("ip link show net1", netns="cni-a")
        assert link["address"] == mac
        assert served.call("DEL", 1, "cni-a") == (0, {})
        assert served.state_of(1) == before


def test_a_vf_whose_namespace_was_deleted_without_del_is_home_and_restored_after_del(
    plugin: Plugin, make_pod: Callable[[str], Pod]
) -> None:
    before = plugin.state_of(2)
    make_pod("cni-a")
    status, said = plugin.call("ADD", 2, "cni-a", mac=MAC, vlan=7, mtu=1400)
    assert status == 0, said
    netns.ip(["netns del cni-a"])
    wait_for(lambda: home_netdev(plugin.host, 2) is not None, "the VF to come home")
    assert home_netdev(plugin.host, 2) != before["name"]
    assert plugin.call("DEL", 2, "cni-a") == (0, {})
    assert (plugin.state_of(2), plugin.leftovers()) == (before, [])


def test_del_right_behind_the_deletion_of_the_namespace_waits_for_the_vf(
    plugin: Plugin, make_pod: Callable[[str], Pod]
) -> None:
    before = plugin.state_of(3)
    make_pod("cni-a")
    assert plugin.call("ADD", 3, "cni-a")[0] == 0
    netns.ip(["netns del cni-a"])
    assert plugin.call("DEL", 3, "cni-a", path="") == (0, {})
    assert (plugin.state_of(3), plugin.leftovers()) == (before, [])


def test_a_vf_renamed_in_the_pod_is_found_by_its_pci_address(served: Plugin, make_pod: Callable[[str], Pod]) -> None:
    before = served.state_of(4)
    make_pod("cni-a")
    assert served.call("ADD", 4, "cni-a")[0] == 0
    netns.ip(["link set net1 down", "link set net1 name mine", "link add net1 type dummy"], netns="cni-a")
    assert served.call("DEL", 4, "cni-a") == (0, {})
    assert (served.state_of(4), served.leftovers()) == (before, [])


def test_the_next_pod_gets_the_vf_of_one_that_died_and_its_late_del_does_no_harm(
    served: Plugin, make_pod: Callable[[str], Pod]
) -> None:
    before = served.state_of(5)
    make_pod("cni-a")
    make_pod("cni-b")
    assert served.call("ADD", 5, "cni-a", vlan=7)[0] == 0
    netns.ip(["netns del cni-a"])
    wait_for(lambda: home_netdev(served.host, 5) is not None, "the VF to come home")
    status, said = served.call("ADD", 5, "cni-b", container="c2", vlan=8)
    assert status == 0, said
    assert served.call("DEL", 5, "cni-a", vlan=7) == (0, {})
    assert vlan_of(served.kept(5)) == 8
    assert netns.show("ip link show net1", netns="cni-b")
    assert served.call("DEL", 5, "cni-b", container="c2") == (0, {})
    assert (served.state_of(5), served.leftovers()) == (before, [])


def test_killing_the_daemon_between_add_and_del_changes_nothing_for_the_caller(
    plugin: Plugin, make_pod: Callable[[str], Pod]
) -> None:
    before = plugin.state_of(6)
    make_pod("cni-a")
    with daemon_of(plugin) as daemon:
        began = time.monotonic()
        status, said = plugin.call("ADD", 6, "cni-a", mac=MAC)
        assert status == 0, said
        print(f"ADD through the daemon: {(time.monotonic() - began) * 1000:.0f} ms")
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    assert plugin.call("DEL", 6, "cni-a", mac=MAC) == (0, {})
    assert (plugin.state_of(6), plugin.leftovers()) == (before, [])


def test_a_refused_attribute_leaves_the_vf_at_home_as_it_was(served: Plugin, make_pod: Callable[[str], Pod]) -> None:
    """igb has no service tags; and it refuses only after the VLAN-less part is done."""
    before = served.state_of(0)
    make_pod("cni-a")
    status, said = served.call("ADD", 0, "cni-a", mac=MAC, trust="on", vlan=7, vlanProto="802.1ad")
    assert (status, said["code"]) == (1, 102)
    assert "VLAN 7 (qos 0, 802.1ad)" in said["msg"]
    assert (served.state_of(0), served.leftovers()) == (before, [])
