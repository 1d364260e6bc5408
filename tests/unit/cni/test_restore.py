"""What is left over and what is not; what is asked of IPAM when nobody calls; which names a VF can have again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cni.attachment import Call, Phase, Record
from cni.plan import AddAltname, DropAltname, FoundVf, Move, Place
from cni.record import Records
from cni.restore import Node, _plan, delegation_of, is_left_over
from sriov.kernel.sysfs import Sysfs
from sriov.link import Link, VfAttributes
from tests.fakes.links import HOME, POD, FakeKernel
from tests.unit.cni.test_apply import home_of, machine
from tests.unit.cni.test_record import OTHER, RECORD

DONE = replace(RECORD, phase=Phase.DONE)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(Sysfs(tmp_path / "sys"), Records(tmp_path / "state"), RECORD.boot)


@pytest.mark.parametrize("record", [RECORD, replace(DONE, boot="another"), replace(RECORD, boot="another")])
def test_an_add_that_died_and_another_boots_attachment_are_left_over(node: Node, record: Record) -> None:
    node.records.write(record)
    assert is_left_over(record, node=node)


def test_an_attachment_whose_vf_has_another_owner_is_left_over(node: Node) -> None:
    node.records.write(DONE)
    node.records.write(replace(OTHER, phase=Phase.DONE))
    assert is_left_over(DONE, node=node)


def test_an_attachment_whose_vf_was_removed_is_left_over(node: Node) -> None:
    node.records.write(DONE)
    assert is_left_over(DONE, node=node)


def test_addresses_are_released_as_the_runtime_would_have_asked() -> None:
    assert delegation_of(RECORD) is None
    call = Call("host-local", "1.0.0", "A=1", "/opt/cni/bin", '{"x": "\udcff"}')
    found = delegation_of(replace(RECORD, call=call))
    assert found is not None
    assert (found.kind, found.path, found.stdin) == ("host-local", "/opt/cni/bin", b'{"x": "\xff"}')
    said = {
        key: found.environment[key] for key in ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH")
    }
    assert list(said.values()) == ["c1", "net1", "/run/netns/x", "A=1", "/opt/cni/bin"]


def plan_with_neighbour(names: tuple[str, ...]) -> tuple[str | None, tuple[object, ...]]:
    """Plan the way home of a VF from its pod, when another link at home has these names."""
    mac = RECORD.home.mac
    before = Link(5, "vf0", ("enp3", "enp4"), mac, 1500, up=False, parent=str(RECORD.vf))
    kernel, work = machine(before, VfAttributes())
    assert isinstance(kernel, FakeKernel)
    del kernel.namespaces[HOME][5]
    kernel.namespaces[HOME][8] = Link(8, names[0], names[1:], None, 1500, up=True, parent=None)
    moved = replace(before, index=9, name="net1", up=True)
    kernel.namespaces[POD][9] = moved
    found = FoundVf(moved, Place.POD, VfAttributes())
    return _plan(replace(DONE, home=home_of(before)), work, found)


def test_an_alternative_name_that_another_link_has_is_given_up_before_the_move() -> None:
    refuge, steps = plan_with_neighbour(("other", "enp3"))
    assert refuge is None
    assert steps[0] == DropAltname("enp3")
    assert not [step for step in steps if isinstance(step, AddAltname)]


def test_when_another_link_has_its_own_name_it_takes_refuge_in_its_address() -> None:
    refuge, steps = plan_with_neighbour(("vf0",))
    assert refuge == "vf000003100"
    assert [step.change.name for step in steps if isinstance(step, Move)] == [refuge]
