"""RDMA devices of a real kernel: one on a VF, found by its link and by sysfs, moved into a pod and home again.

`rdmasim` has the parent, the port and the mobility of a NIC's own RDMA device; siw, the kernel's soft one, refuses to move.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sriov.errors import KernelError
from sriov.kernel.link import Links, open_rtnetlink
from sriov.kernel.netns import OWN, open_netns
from sriov.kernel.rdma import NetnsMode, Rdma, RdmaDevice, open_rdma
from sriov.kernel.sysfs import Sysfs
from sriov.link import LinkChange
from sriov.model import PciAddress
from tests.lab import netns
from tests.lab.model import Lab
from tests.lab.vf import Pod, home_netdev, wait_for

VF = 2
MODULE = "/lib/dpusim/rdmasim.ko"


@contextmanager
def opened(target: int | None = None) -> Iterator[Rdma]:
    with open_rdma(subject="test", netns=target) as found:
        assert found is not None
        yield found


def find_at_home(name: str) -> RdmaDevice | None:
    with opened() as rdma:
        return rdma.find(name)


def index_of(name: str) -> int:
    with open_rtnetlink(subject="test") as netlink:
        link = Links(netlink).find(name)
    assert link is not None
    return link.index


@pytest.fixture
def netdev(lab: Lab, vfs: int) -> str:
    """The name of a VF's netdev, at home."""
    wait_for(lambda: home_netdev(lab.hosts[0], VF) is not None, "the VF to be at home")
    name = home_netdev(lab.hosts[0], VF)
    assert name is not None
    return name


@pytest.fixture
def device(lab: Lab, netdev: str) -> Iterator[RdmaDevice]:
    """An RDMA device on the VF. A test that moves it brings it home, or ends its pod."""
    netns.run(["insmod", MODULE, f"function={lab.hosts[0].vf_pci(VF)}"])
    try:
        found = find_at_home("rdmasim0")
        assert found is not None
        yield found
        wait_for(lambda: find_at_home("rdmasim0") is not None, "the RDMA device to be at home")
    finally:
        netns.run(["rmmod", "rdmasim"])


def test_the_lab_gives_a_device_to_one_namespace(lab: Lab) -> None:
    with opened() as rdma:
        assert rdma.read_mode() is NetnsMode.EXCLUSIVE


def test_a_device_is_found_by_its_link_its_name_and_its_function(device: RdmaDevice, netdev: str, lab: Lab) -> None:
    with opened() as rdma:
        assert rdma.find_of_link(index_of(netdev)) == device
        assert rdma.find_of_link(index_of(lab.hosts[0].netdev)) is None
        assert device in rdma.read_all()
        assert rdma.find("none") is None
    assert Sysfs().find_rdma_device(PciAddress.parse(lab.hosts[0].vf_pci(VF))) == device.name


def test_a_device_goes_along_with_its_netdev_and_comes_home_with_it(
    device: RdmaDevice, netdev: str, lab: Lab, make_pod: Callable[[str], Pod]
) -> None:
    pod, address = make_pod("rdma"), PciAddress.parse(lab.hosts[0].vf_pci(VF))
    with (
        open_netns(pod.path) as target,
        open_netns(OWN) as home,
        opened() as rdma,
        opened(target) as there,
        open_rtnetlink(subject="test") as netlink,
        open_rtnetlink(subject="test", netns=target) as pod_netlink,
    ):
        Links(netlink).move(index_of(netdev), netns=target, change=LinkChange("net1", up=True))
        assert rdma.find(device.name) == device
        rdma.move(device, netns=target)
        assert (rdma.find(device.name), there.find(device.name)) == (None, device)
        assert Sysfs().find_rdma_device(address) is None
        moved = Links(pod_netlink).find("net1")
        assert moved is not None
        assert there.find_of_link(moved.index) == device
        there.move(device, netns=home)
        assert (rdma.find(device.name), there.find(device.name)) == (device, None)
        Links(pod_netlink).move(moved.index, netns=home, change=LinkChange(netdev))
        assert rdma.find_of_link(index_of(netdev)) == device
    assert Sysfs().find_rdma_device(address) == device.name


def test_a_device_comes_home_by_itself_when_its_pod_ends(device: RdmaDevice, make_pod: Callable[[str], Pod]) -> None:
    pod = make_pod("rdma")
    with open_netns(pod.path) as target, opened() as rdma:
        rdma.move(device, netns=target)
        assert rdma.find(device.name) is None
    netns.ip([f"netns del {pod.name}"])
    wait_for(lambda: find_at_home(device.name) == device, "the RDMA device to be at home")


def test_a_device_that_is_not_here_cannot_be_moved(device: RdmaDevice, make_pod: Callable[[str], Pod]) -> None:
    pod = make_pod("rdma")
    with open_netns(pod.path) as target, opened() as rdma, pytest.raises(KernelError) as caught:
        rdma.move(RdmaDevice(device.index + 7, "none"), netns=target)
    assert caught.value.errno in (errno.EINVAL, errno.ENODEV)


def test_a_soft_device_refuses_to_move_and_the_refusal_says_why(netdev: str, make_pod: Callable[[str], Pod]) -> None:
    pod = make_pod("rdma")
    netns.run(["rdma", "link", "add", "soft0", "type", "siw", "netdev", netdev])
    try:
        with open_netns(pod.path) as target, opened() as rdma:
            device = rdma.find("soft0")
            assert device is not None
            assert rdma.find_of_link(index_of(netdev)) == device
            with pytest.raises(KernelError, match=r"move RDMA device soft0: ENOTSUP .*its driver cannot"):
                rdma.move(device, netns=target)
    finally:
        netns.run(["rdma", "link", "delete", "soft0"])
