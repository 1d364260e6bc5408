"""Addresses, routes and neighbours survive the way into a message and back; strange messages are no reason to fall over."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov.document import Address, Interface, Network
from sriov.kernel.addressmessage import (
    parse_address,
    parse_neighbour,
    parse_route,
    render_address,
    render_neighbour,
    render_route,
)
from sriov.kernel.netlink import pack_number
from sriov.link import LinkAddress, Neighbour, Route
from sriov.model import MacAddress

INDICES = st.integers(1, 2**31 - 1)
NUMBERS = st.none() | st.integers(1, 2**32 - 1)
MACS = st.binary(min_size=6, max_size=6).map(MacAddress)


def interfaces(version: int) -> st.SearchStrategy[Interface]:
    lengths = st.integers(0, 32 if version == 4 else 128)
    return st.builds(lambda address, length: ip_interface((address, length)), st.ip_addresses(v=version), lengths)


INTERFACES = interfaces(4) | interfaces(6)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    version = draw(st.sampled_from((4, 6)))
    to: Network = ip_network(str(draw(interfaces(version)).network))
    gateway: Address | None = draw(st.none() | st.ip_addresses(v=version))
    return Route(
        to,
        gateway,
        mtu=draw(NUMBERS),
        advmss=draw(NUMBERS),
        priority=draw(NUMBERS),
        table=draw(NUMBERS),
        scope=draw(st.none() | st.integers(0, 255)),
        on_link=draw(st.booleans()),
    )


@given(INDICES, INTERFACES)
def test_an_address_comes_back_as_it_went(index: int, address: Interface) -> None:
    found = parse_address(render_address(index, address, detect_duplicates=True))
    assert found == (index, LinkAddress(address, 0, permanent=False, tentative=False, duplicate=False))


@given(INDICES, routes())
def test_a_route_comes_back_as_it_went_and_meets_the_wish(index: int, route: Route) -> None:
    found = parse_route(render_route(index, route))
    assert found is not None
    assert found[0] == index
    assert replace(found[1], table=route.table, scope=route.scope) == route
    assert route.is_met_by(found[1])


def test_an_ipv4_route_may_go_by_way_of_an_ipv6_neighbour() -> None:
    route = Route(ip_network("10.0.0.0/8"), ip_address("fe80::1"), table=254, scope=0)
    assert parse_route(render_route(7, route)) == (7, route)


@given(INDICES, st.ip_addresses(), MACS)
def test_a_neighbour_comes_back_as_it_went(index: int, address: Address, mac: MacAddress) -> None:
    neighbour = Neighbour(address, mac)
    assert parse_neighbour(render_neighbour(index, neighbour)) == (index, neighbour)


@pytest.mark.parametrize(
    ("flags", "permanent", "tentative", "duplicate"),
    [(0x80, True, False, False), (0xC0, True, True, False), (0xC8, True, False, True), (0x00, False, False, False)],
)
def test_the_flags_of_an_address_beyond_its_octet_count(
    flags: int, *, permanent: bool, tentative: bool, duplicate: bool
) -> None:
    # 0x100 is a flag that does not fit the octet of the header, so the kernel repeats all of them behind it.
    message = render_address(3, ip_interface("fd00::1/64"), detect_duplicates=True) + pack_number(8, flags | 0x100)
    found = parse_address(message)
    assert found is not None
    assert (found[1].permanent, found[1].tentative, found[1].duplicate) == (permanent, tentative, duplicate)


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_left_out(message: bytes) -> None:
    for parse in (parse_address, parse_route, parse_neighbour):
        parse(message)


def test_what_is_no_unicast_route_is_left_out() -> None:
    route = render_route(3, Route(ip_network("10.0.0.0/8")))
    local, cached = bytearray(route), bytearray(route)
    local[7] = 2  # RTN_LOCAL
    struct.pack_into("=I", cached, 8, 0x200)  # RTM_F_CLONED
    assert (parse_route(bytes(local)), parse_route(bytes(cached))) == (None, None)
