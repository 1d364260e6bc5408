"""containerd calls the plugin, for real VFs: its habits, of which the plain machine has shown the rest on stand-ins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.node import Node
from tests.e2e.test_habits import (
    test_add_is_killed_at_the_callers_deadline_and_del_comes_at_once,
    test_after_a_power_cut_dels_of_the_last_boot_leave_the_pods_of_this_one_alone,
    test_del_comes_without_namespace_when_that_was_unmounted,
    test_what_no_del_ever_comes_for_is_found_by_the_reconciler,
    test_what_refuses_add_and_del_behind_ours_costs_no_vf,
)
from tests.lab import netns
from tests.lab.model import VFS, Host, Lab
from tests.lab.vf import home_netdev, set_vfs

# Imported to be run here, too.
__all__ = [
    "test_add_is_killed_at_the_callers_deadline_and_del_comes_at_once",
    "test_after_a_power_cut_dels_of_the_last_boot_leave_the_pods_of_this_one_alone",
    "test_del_comes_without_namespace_when_that_was_unmounted",
    "test_what_no_del_ever_comes_for_is_found_by_the_reconciler",
    "test_what_refuses_add_and_del_behind_ours_costs_no_vf",
]

AT_ONCE = 4
LOGS = Path("/out/logs")


class IgbDevices:
    """The VFs of one host: they come home by themselves.

    Args:
        host: whose.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._names = self._read_names()

    @property
    def vfs(self) -> tuple[str, ...]:
        return tuple(self._host.vf_pci(vf) for vf in range(VFS))

    def environment(self) -> Mapping[str, str]:
        return {}

    def look(self) -> Mapping[str, object]:
        links = {link["ifname"]: link for link in netns.show("ip -d link")}
        kept = {entry.pop("vf"): entry for entry in links[self._host.netdev]["vfinfo_list"]}
        found: dict[str, object] = {}
        for vf, name in enumerate(self._names):
            if home_netdev(self._host, vf) == name and name in links:
                kept[vf].pop("stats", None)
                link = {word: links[name].get(word) for word in ("address", "mtu", "promiscuity", "altnames")}
                found[self._host.vf_pci(vf)] = link | {"up": "UP" in links[name]["flags"], "kept": kept[vf]}
        return found

    def send_home(self, vf: str, netns: str) -> None:
        """Nothing to do: the kernel does it."""

    def settle(self) -> None:
        """Nothing to do: sysfs does it."""

    def lose_power(self) -> None:
        set_vfs(self._host, 0)
        set_vfs(self._host, VFS)
        self._names = self._read_names()

    def _read_names(self) -> list[str | None]:
        return [home_netdev(self._host, vf) for vf in range(VFS)]


@pytest.fixture(scope="module")
def machine(lab: Lab, vfs: int) -> Iterator[Node]:
    """A node with containerd running and no daemon."""
    folder = Path("/run/containerd-case")
    wishes = {"vlan": 7, "vlanQoS": 3, "spoofchk": "off", "trust": "on", "mtu": 1450}
    with Node(folder, IgbDevices(lab.hosts[0]), LOGS, "/pods", wishes).running() as node:
        yield node
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def node(machine: Node) -> Iterator[Node]:
    """A node with its daemon running, on which nothing is left."""
    machine.start_daemon()
    try:
        yield machine
        machine.check_all_is_undone()
    finally:
        machine.clean_up()


def test_pods_at_once_have_their_vfs_as_asked_and_give_them_back_as_they_were(node: Node, lab: Lab) -> None:
    vfs = node.devices.vfs[:AT_ONCE]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sandboxes = list(pool.map(node.run_pod, vfs))
        for sandbox, vf in zip(sandboxes, vfs, strict=True):
            interface = node.interface(sandbox)
            assert interface is not None
            assert (interface["parentdev"], interface["mtu"]) == (vf, 1400)
            assert "UP" in interface["flags"]
        assert [asked_of_pf(lab.hosts[0], vf) for vf in range(AT_ONCE)] == [(7, 3, False, True)] * AT_ONCE
        assert len(node.devices.look()) == VFS - AT_ONCE
        list(pool.map(node.end_pod, sandboxes))
    assert len(node.devices.look()) == VFS


def asked_of_pf(host: Host, vf: int) -> tuple[int, int, bool, bool]:
    """Return a VF's VLAN, its priority, whether the PF checks its address, and whether it trusts it."""
    (pf,) = netns.show(f"ip -d link show {host.netdev}")
    kept = next(entry for entry in pf["vfinfo_list"] if entry["vf"] == vf)
    vlan = kept["vlan_list"][0]
    return int(vlan.get("vlan", 0)), int(vlan.get("qos", 0)), bool(kept["spoofchk"]), bool(kept["trust"])
