"""Policies become one desired state for each PF, or a contradiction that is named."""

from __future__ import annotations

from typing import Any

import pytest

from deviceplugin.provision.desired import DesiredPf, merge_policies
from deviceplugin.provision.policy import NicSelector, Policy
from deviceplugin.selector import PfPart
from sriov.errors import InputError
from sriov.model import PciAddress, Pf


def make_pf(number: int, total: int = 7) -> Pf:
    address = PciAddress(0, number + 1, 0, 0)
    return Pf(address, f"ens{number}", "igb", "8086", "10c9", None, None, 1500, True, None, 0, total, (), "10ca")


def make_policy(name: str = "p1", pf: str = "ens0", **fields: object) -> Policy:
    defaults: dict[str, Any] = {
        "place": "p.yaml",
        "resource": "vfs",
        "priority": 99,
        "selector": NicSelector(None, None, (PfPart.parse(pf),), ()),
        "num_vfs": 4,
        "mtu": None,
        "eswitch_mode": None,
        "externally_managed": False,
    }
    return Policy(name=name, **(defaults | fields))


def merge(*policies: Policy, pfs: tuple[Pf, ...] = (make_pf(0), make_pf(1))) -> tuple[DesiredPf, ...]:
    return merge_policies(policies, pfs)


def refused(*policies: Policy) -> str:
    with pytest.raises(InputError) as error:
        merge(*policies)
    return str(error.value)


def test_only_selected_pfs_are_desired_something_of() -> None:
    (desired,) = merge(make_policy(pf="ens1", mtu=9000))
    assert (desired.address, desired.num_vfs, desired.mtu) == (PciAddress(0, 2, 0, 0), 4, 9000)
    assert desired.because == "policy p1"


def test_policies_for_different_vfs_go_together() -> None:
    (desired,) = merge(
        make_policy("a", "ens0#0-1", num_vfs=4, mtu=1500), make_policy("b", "ens0#2-5", num_vfs=6, mtu=9000)
    )
    assert (desired.num_vfs, desired.mtu) == (6, 9000)
    assert [desired.find_vf_mtu(index) for index in range(7)] == [1500, 1500, 9000, 9000, 9000, 9000, None]
    assert desired.because == "policy a, b"


def test_the_smaller_priority_number_holds_for_vfs_both_claim() -> None:
    (desired,) = merge(make_policy("weak", num_vfs=2, priority=50), make_policy("strong", num_vfs=6, priority=5))
    assert (desired.num_vfs, desired.because) == (6, "policy strong")


def test_two_of_one_priority_that_want_the_same_are_no_conflict() -> None:
    (desired,) = merge(make_policy("a"), make_policy("b"))
    assert desired.num_vfs == 4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_vfs": 5}, "numVfs 5 and 4"),
        ({"mtu": 9000}, "mtu 9000 and None"),
        ({"resource": "other"}, "resourceName other and vfs"),
        ({"externally_managed": True}, "externallyManaged True and False"),
        ({"eswitch_mode": "legacy"}, "eSwitchMode legacy and None"),
        ({"num_vfs": 0}, "numVfs 0 and 4"),
    ],
)
def test_contradictions_of_one_priority_are_told(fields: dict[str, Any], said: str) -> None:
    text = refused(make_policy("a"), make_policy("b", **fields))
    assert "p.yaml (policy b).spec.nicSelector: contradicts policy a" in text
    assert said in text


def test_policies_for_different_vfs_must_agree_about_the_pf() -> None:
    text = refused(make_policy("a", "ens0#0-1"), make_policy("b", "ens0#2-3", externally_managed=True))
    assert "(policy b).spec.externallyManaged: policies a and b differ in it" in text


def test_more_vfs_than_the_pf_can_have_are_refused_with_the_limit() -> None:
    text = refused(make_policy(num_vfs=9))
    assert "(policy p1).spec.numVfs: 9 is more than the 7 VFs PF 0000:01:00.0 (ens0, 8086:10c9) can have" in text


def test_a_selector_that_takes_nothing_is_refused_with_what_is_there() -> None:
    text = refused(make_policy(pf="ens7"))
    assert "(policy p1).spec.nicSelector: no PF of this host fits pfNames=ens7" in text
    assert "PFs here: 0000:01:00.0 (ens0, 8086:10c9), 0000:02:00.0 (ens1, 8086:10c9)" in text
    with pytest.raises(InputError, match="PFs here: none that can have VFs"):
        merge(make_policy(), pfs=())


def test_all_faults_are_told_at_once() -> None:
    text = refused(make_policy("a", "ens7"), make_policy("b", "ens0", num_vfs=8), make_policy("c", "ens0"))
    assert len(text.splitlines()) == 3
