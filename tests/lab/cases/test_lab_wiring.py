"""The lab's wires: VF i of a host is behind representor i of its DPU and behind nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.lab import netns
from tests.lab.fabric import netdev_of, set_loopback, wire
from tests.lab.model import LAB, Dpu, Host, Lab
from tests.lab.vf import Pod, home_netdev, wait_for

MakePod = Callable[[str], Pod]
PAIRS = tuple(zip(LAB.hosts, LAB.dpus, strict=True))


@pytest.fixture
def addressed() -> Iterator[Callable[[str, str, str], None]]:
    """Put an address on a device of a DPU, and take it away again."""
    given: list[tuple[str, str, str]] = []

    def give(namespace: str, device: str, address: str) -> None:
        netns.ip([f"address add {address} dev {device}"], netns=namespace)
        given.append((namespace, device, address))

    yield give
    for namespace, device, address in given:
        netns.ip([f"address del {address} dev {device}"], netns=namespace)


@pytest.mark.parametrize(("host", "dpu"), PAIRS)
def test_each_vf_reaches_its_own_representor(
    vfs: int, make_pod: MakePod, addressed: Callable[[str, str, str], None], host: Host, dpu: Dpu
) -> None:
    """Both ways, by ping: each pair has a network of its own, so a wrong wire gives no answer."""
    for vf in range(vfs):
        pod = make_pod(f"wire{vf}")
        pod.take_vf(host, vf, f"10.200.{vf}.2/24")
        addressed(dpu.netns, dpu.representor(vf), f"10.200.{vf}.1/24")
        assert pod.pings(f"10.200.{vf}.1"), f"VF {vf} does not reach {dpu.representor(vf)}"
    others = netns.show("ip neighbour", netns=dpu.netns)
    assert {entry["dst"]: entry["dev"] for entry in others if entry["dst"].startswith("10.200.")} == {
        f"10.200.{vf}.2": dpu.representor(vf) for vf in range(vfs)
    }


@pytest.mark.parametrize(("host", "dpu"), PAIRS)
def test_the_pf_reaches_its_representor(
    lab: Lab, addressed: Callable[[str, str, str], None], host: Host, dpu: Dpu
) -> None:
    netns.ip([f"address add 10.201.0.2/24 dev {host.netdev}"])
    addressed(dpu.netns, dpu.pf_representor, "10.201.0.1/24")
    try:
        netns.run(["ping", "-n", "-c", "1", "-W", "5", "10.201.0.1"])
    finally:
        netns.ip([f"address del 10.201.0.2/24 dev {host.netdev}"])


def test_vfs_do_not_reach_each_other_past_the_dpu(vfs: int, make_pod: MakePod) -> None:
    """Without a flow on the DPU there is no way. With the card's own switch on, and both VFs on one VLAN, there is: the test can fail."""
    host = LAB.hosts[0]
    a, b = make_pod("vfa"), make_pod("vfb")
    a.take_vf(host, 0, "10.202.0.1/24")
    b.take_vf(host, 1, "10.202.0.2/24")
    assert not a.pings("10.202.0.2", count=3, wait=1)
    netns.ip([f"link set {host.netdev} vf {vf} vlan 0" for vf in (0, 1)])
    set_loopback(host, on=True)
    try:
        assert a.pings("10.202.0.2", count=10, wait=1), (
            "the card's own switch does not forward: the check above proves nothing"
        )
        set_loopback(host, on=False)
        a.run("ip", "neighbour", "flush", "dev", "net1")
        assert not a.pings("10.202.0.2", count=3, wait=1)
    finally:
        wire(host)


def test_wiring_survives_a_new_mac_and_a_rebind(
    vfs: int, make_pod: MakePod, addressed: Callable[[str, str, str], None]
) -> None:
    """As the CNI plugin does it: the VF's driver learns an administrative MAC only when it is bound anew."""
    host, dpu = LAB.hosts[0], LAB.dpus[0]
    address = host.vf_pci(0)
    netns.ip([f"link set {host.netdev} vf 0 mac {host.vf_mac(0)}"])
    for file in ("unbind", "bind"):
        with open(f"/sys/bus/pci/drivers/igbvf/{file}", "w") as control:  # noqa: PTH123 (one write, no truncation games)
            control.write(address)
    pod = make_pod("rebound")
    pod.take_vf(host, 0, "10.203.0.2/24")
    addressed(dpu.netns, dpu.representor(0), "10.203.0.1/24")
    assert netns.show("ip link show net1", netns=pod.name)[0]["address"] == host.vf_mac(0)
    assert pod.pings("10.203.0.1", count=3)


def test_vf_comes_home_when_its_pod_is_gone(vfs: int, make_pod: MakePod) -> None:
    host = LAB.hosts[0]
    pod = make_pod("shortlived")
    pod.take_vf(host, 2)
    assert home_netdev(host, 2) is None
    netns.ip([f"netns del {pod.name}"])
    wait_for(lambda: home_netdev(host, 2) is not None, "the VF to come home")
    # It keeps the name it had in the pod, or is called devN when that name is taken (net/core/dev.c, default_device_exit_net()).
    assert re.fullmatch(r"net1|dev[0-9]+", home_netdev(host, 2) or "")


def test_hosts_are_as_the_model_says(lab: Lab) -> None:
    for host in LAB.hosts:
        assert netdev_of(host.pf) == host.netdev
        link = netns.show(f"ip link show {host.netdev}")[0]
        assert link["address"] == host.mac
        assert "LOWER_UP" in link["flags"]
    with_vfs = netns.run(["sh", "-c", "ls -d /sys/bus/pci/devices/*/sriov_numvfs"]).split()
    assert [path.split("/")[-2] for path in with_vfs] == [host.pf for host in LAB.hosts]
