"""Which records nobody but us will ever undo: told from the disk and from sysfs, without a word to the kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cni.attachment import Call, Home, Kind, Phase, Record
from cni.daemon.leftover import Leftover, Settled, find_leftover, settle
from cni.record import Records
from cni.request import AttachmentId
from cni.restore import Node
from sriov.errors import BusyError, NotFoundError
from sriov.kernel.sysfs import Sysfs
from sriov.link import VfAttributes
from sriov.model import MacAddress, PciAddress
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

PF, VF = "0000:03:00.0", "0000:03:10.0"
RECORD = Record(
    AttachmentId("c1", "net1"), "n", PciAddress.parse(VF), "/run/netns/x", 77, Phase.DONE, "this boot",
    Home(3, "vf0", (), MacAddress(bytes(6)), 1500, up=False, tells_parent=True), VfAttributes(), Call(None, "1.0.0", "", "", "{}"),
)  # fmt: skip


@pytest.fixture
def sysfs(tmp_path: Path) -> FakeSysfs:
    """Its one VF is in a pod."""
    return FakeSysfs(tmp_path / "sys", FakePf(PF, "pf0", (FakeVf(VF, None),)))


@pytest.fixture
def node(tmp_path: Path, sysfs: FakeSysfs) -> Node:
    return Node(Sysfs(sysfs.root), Records(tmp_path / "state"), "this boot")


def test_an_attachment_that_stands_is_left_alone(node: Node) -> None:
    node.records.write(RECORD)
    assert (find_leftover(RECORD, node), settle(RECORD, node)) == (None, None)
    assert node.records.find(RECORD.attachment) == RECORD


def test_one_of_an_earlier_boot_is_left_over_and_its_vf_not_touched(node: Node) -> None:
    old = replace(RECORD, boot="an earlier one")
    node.records.write(old)
    assert settle(old, node) == Settled(Leftover.EARLIER_BOOT, None, 0)
    assert node.records.read_all() == ()


def test_an_add_that_was_never_done_is_left_over_once_nobody_works_on_it(node: Node) -> None:
    planned = replace(RECORD, phase=Phase.PLANNED)
    node.records.write(planned)
    assert find_leftover(planned, node) is Leftover.UNFINISHED
    with node.records.lock(RECORD.vf), pytest.raises(BusyError, match="another call works on it"):
        settle(planned, node)
    assert node.records.find(RECORD.attachment) == planned


def test_an_add_that_was_done_meanwhile_is_not_undone(node: Node) -> None:
    node.records.write(RECORD)
    assert settle(replace(RECORD, phase=Phase.PLANNED), node) is None


def test_of_one_whose_vf_has_another_owner_only_the_addresses_are_left(node: Node) -> None:
    other = replace(RECORD, attachment=AttachmentId("c2", "net1"))
    node.records.write(RECORD)
    node.records.write(other)
    assert settle(RECORD, node) == Settled(Leftover.ADDRESSES, None, 0)
    assert node.records.read_all() == (other,)


def test_of_one_whose_vf_is_restored_only_the_addresses_are_left(node: Node, sysfs: FakeSysfs) -> None:
    sysfs.place_netdev(VF, "vf0")
    node.records.write(RECORD)
    node.records.disown(RECORD)
    assert settle(RECORD, node) == Settled(Leftover.ADDRESSES, None, 0)
    assert node.records.read_all() == ()


def test_one_whose_link_somebody_removed_keeps_its_addresses_while_its_vf_is_in_the_pod(node: Node) -> None:
    node.records.write(RECORD)
    node.records.disown(RECORD)
    assert (find_leftover(RECORD, node), settle(RECORD, node)) == (None, None)
    assert node.records.find(RECORD.attachment) == RECORD


def test_one_whose_addresses_cannot_be_released_stays_and_says_why(node: Node) -> None:
    kept = replace(RECORD, boot="an earlier one", call=replace(RECORD.call, ipam="absent", path="/nowhere"))
    node.records.write(kept)
    settled = settle(kept, node)
    assert settled is not None
    assert (settled.leftover, type(settled.error)) == (Leftover.EARLIER_BOOT, NotFoundError)
    assert node.records.find(kept.attachment) == kept


def test_one_whose_vf_was_removed_is_left_over(node: Node, sysfs: FakeSysfs) -> None:
    node.records.write(RECORD)
    sysfs.remove_vfs(PF)
    assert find_leftover(RECORD, node) is Leftover.IN_NO_POD


def test_one_that_is_gone_by_now_is_nobodys(node: Node) -> None:
    assert settle(replace(RECORD, phase=Phase.PLANNED), node) is None


def test_one_that_a_program_has_ends_with_the_pods_namespace(node: Node, sysfs: FakeSysfs) -> None:
    sysfs.bind(VF, "vfio-pci")
    record = replace(RECORD, kind=Kind.USERSPACE)
    node.records.write(record)
    assert find_leftover(record, node) is Leftover.IN_NO_POD
