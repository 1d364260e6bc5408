"""Links and VF attributes as values: what differs, what is nothing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov.link import MAIN_TABLE, Link, LinkChange, LinkState, Rates, Route, VfAttributes, VlanTag
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


FOUND = Route(
    ip_network("10.9.0.0/16"), ip_address("10.1.1.1"), mtu=1400, advmss=1300, priority=7, table=MAIN_TABLE, scope=0
)


def test_a_route_is_met_by_one_that_says_more() -> None:
    assert Route(FOUND.to, FOUND.gateway).is_met_by(FOUND)
    assert FOUND.is_met_by(FOUND)


@pytest.mark.parametrize(
    "other",
    [
        replace(FOUND, to=ip_network("10.9.0.0/17")),
        replace(FOUND, gateway=None),
        replace(FOUND, mtu=1500),
        replace(FOUND, advmss=None),
        replace(FOUND, priority=8),
        replace(FOUND, table=100),
        replace(FOUND, scope=253),
    ],
)
def test_a_route_is_not_met_by_another(other: Route) -> None:
    assert not FOUND.is_met_by(other)


def test_a_wish_for_a_scope_is_void_in_ipv6_as_it_is_to_the_kernel() -> None:
    to = ip_network("fd00::/64")
    assert Route(to, scope=253).is_met_by(Route(to, scope=0, table=MAIN_TABLE, priority=1024))


def test_a_link_with_and_without_carrier_is_the_same_link() -> None:
    link = Link(3, "eth0", (), None, 1500, up=True, parent=None)
    assert replace(link, carrier=True) == link
