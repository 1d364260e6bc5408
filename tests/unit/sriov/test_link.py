"""Links and VF attributes as values: what differs, what is nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sriov.link import LinkChange, LinkState, Rates, VfAttributes, VlanTag
from sriov.model import MacAddress

attributes = st.builds(
    VfAttributes,
    mac=st.none() | st.sampled_from([MacAddress(bytes([2, 0, 0, 0, 0, last])) for last in (1, 2)]),
    vlan=st.none() | st.builds(VlanTag, st.integers(0, 1)),
    spoofchk=st.none() | st.booleans(),
    trust=st.none() | st.booleans(),
    link_state=st.none() | st.sampled_from(LinkState),
    rates=st.none() | st.builds(Rates, st.integers(0, 1), st.integers(0, 1)),
)


@given(attributes)
def test_nothing_differs_from_itself(one: VfAttributes) -> None:
    assert one.difference(one).is_empty


@given(attributes, attributes)
def test_a_difference_names_what_is_wanted_and_not_so(wanted: VfAttributes, now: VfAttributes) -> None:
    difference = wanted.difference(now)
    for name in ("mac", "vlan", "spoofchk", "trust", "link_state", "rates"):
        asked, is_so = getattr(wanted, name), getattr(now, name)
        assert getattr(difference, name) == (None if asked is None or asked == is_so else asked)


def test_false_is_a_wish_and_none_is_none() -> None:
    assert VfAttributes(trust=False).difference(VfAttributes(trust=True)) == VfAttributes(trust=False)
    assert not LinkChange(up=False).is_empty
    assert LinkChange().is_empty
