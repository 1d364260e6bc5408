"""What CHECK compares: each difference in a sentence of its own, and nothing said of what others added."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.check import Seen, compare_attributes, compare_layer3, compare_link, find_own
from cni.network import NetworkConfig, RoutedMode
from cni.plan import plan_layer3, render_ips, render_routes
from cni.request import parse_request
from cni.result import Result, ResultInterface, ResultIp
from sriov.link import Link, LinkAddress, LinkState, Neighbour, Rates, Route, VfAttributes, VlanTag
from sriov.model import MacAddress
from tests.unit.cni.test_plan import wanted
from tests.unit.cni.test_request import ADD, CONFIG

MAC = MacAddress.parse("0a:58:00:00:00:02")
LINK = Link(5, "net1", (), MAC, 1400, up=True, parent=None)
OWN = ResultInterface("net1", str(MAC).upper(), 1400, sandbox="/run/netns/x")
V4 = ResultIp(ip_interface("10.1.1.2/24"), ip_address("10.1.1.1"), 0)
DEFAULT = Route(ip_network("0.0.0.0/0"), ip_address("10.1.1.1"))


def has(*texts: str, duplicate: bool = False) -> tuple[LinkAddress, ...]:
    return tuple(
        LinkAddress(ip_interface(text), 0, permanent=True, tentative=False, duplicate=duplicate) for text in texts
    )


def compare(config: NetworkConfig, previous: Result, **seen: object) -> list[str]:
    return list(compare_layer3(config, previous, replace(Seen(VfAttributes(), LINK), **seen)))


def test_a_link_as_it_was_answered_differs_in_nothing() -> None:
    assert list(compare_link(OWN, LINK)) == []
    assert list(compare_link(replace(OWN, mac="", mtu=None), LINK)) == []


def test_every_difference_of_the_link_is_told() -> None:
    link = replace(LINK, name="x", mac=MacAddress(bytes(6)), mtu=1500, up=False)
    assert list(compare_link(OWN, link)) == [
        "its name is x", "its MAC is 00:00:00:00:00:00, not 0A:58:00:00:00:02", "its MTU is 1500, not 1400", "it is down",
    ]  # fmt: skip


def test_our_interface_is_the_one_in_the_pod() -> None:
    request = parse_request(ADD, CONFIG)
    other = replace(OWN, sandbox="")
    assert find_own(Result(interfaces=(other, OWN)), request) == OWN
    assert find_own(Result(interfaces=(other,)), request) is None


def test_only_attributes_the_network_asks_for_are_compared() -> None:
    kept = VfAttributes(MAC, VlanTag(5), spoofchk=True, trust=True, link_state=LinkState.AUTO, rates=Rates(0, 10))
    assert list(compare_attributes(VfAttributes(), kept)) == []
    assert list(compare_attributes(VfAttributes(vlan=VlanTag(5), trust=True), kept)) == []
    assert list(compare_attributes(VfAttributes(vlan=VlanTag(7), trust=False), kept)) == [
        "its PF has VLAN 5 (qos 0, 802.1q), trust on, not VLAN 7 (qos 0, 802.1q), trust off"
    ]
    assert list(compare_attributes(VfAttributes(trust=True), VfAttributes())) == ["its PF has nothing, not trust on"]


def test_a_pf_that_keeps_no_address_is_not_asked_for_one() -> None:
    assert list(compare_attributes(VfAttributes(mac=MAC), VfAttributes())) == []


def test_addresses_and_routes_must_be_there_and_more_may_be() -> None:
    previous = Result(ips=(V4,), routes=(DEFAULT,))
    routes = (DEFAULT, Route(ip_network("10.9.0.0/16"), ip_address("10.1.1.9")))
    assert compare(wanted(), previous, addresses=has("10.1.1.2/24", "fe80::1/64"), routes=routes) == []
    assert compare(wanted(), previous, addresses=has("10.1.1.3/24")) == [
        "address 10.1.1.2/24 is missing", "route 0.0.0.0/0 via 10.1.1.1 is missing",
    ]  # fmt: skip
    assert compare(wanted(), Result(ips=(V4,)), addresses=has("10.1.1.2/24", duplicate=True)) == [
        "address 10.1.1.2/24 is somebody else's, too"
    ]


def test_routes_of_other_plugins_interfaces_are_theirs() -> None:
    other = Route(ip_network("172.16.0.0/12"), ip_address("192.0.2.1"))
    assert compare(wanted(), Result(ips=(V4,), routes=(other,)), addresses=has("10.1.1.2/24")) == []


@pytest.mark.parametrize("missing", ["", "neighbour", "route"])
def test_routed_mode_needs_its_neighbour_and_the_way_to_it(missing: str) -> None:
    routed = RoutedMode()
    host, gateway = ResultIp(ip_interface("10.1.1.2/32"), routed.gateway, 0), ip_network("169.254.1.1/32")
    routes = (Route(gateway, scope=253), Route(ip_network("0.0.0.0/0"), routed.gateway))
    said = compare(
        wanted(routed=routed), Result(ips=(host,)), addresses=has("10.1.1.2/32"),
        routes=routes[1:] if missing == "route" else routes,
        neighbours=() if missing == "neighbour" else (Neighbour(routed.gateway, routed.gateway_mac),),
    )  # fmt: skip
    assert (
        said
        == {
            "": [],
            "neighbour": ["neighbour 169.254.1.1 at 0a:58:a9:fe:01:01 is missing"],
            "route": ["route 169.254.1.1/32 is missing"],
        }[missing]
    )


interfaces = st.builds(
    lambda number, prefix: ip_interface((number, prefix)), st.integers(0, 2**32 - 1), st.integers(0, 32)
) | st.builds(
    lambda number, prefix: ip_interface((number << 64 | 1, prefix)), st.integers(1, 2**60), st.integers(0, 64)
)


@given(st.lists(interfaces, min_size=1, max_size=4, unique=True), st.booleans(), st.data())
def test_what_add_planned_and_answered_differs_in_nothing(
    entries: list[object], routed: bool, data: st.DataObject
) -> None:
    ips = tuple(
        ResultIp(address, data.draw(st.none() | st.just(address.network[0])))
        for address in (ip_interface(str(entry)) for entry in entries)
    )
    routes = tuple(Route(ip_network("10.0.0.0/8" if ip.address.version == 4 else "fd00::/8")) for ip in ips)
    config = wanted(routed=RoutedMode(mtu=data.draw(st.none() | st.just(1400))) if routed else None)
    addresses = Result(ips=ips, routes=routes)
    layer3 = plan_layer3(config.routed, addresses)
    answered = Result(ips=render_ips(layer3, config.routed, addresses, interface=0))
    answered = replace(answered, routes=render_routes(layer3, config.routed))
    found = has(*(str(address) for address in layer3.addresses))
    assert compare(config, answered, addresses=found, routes=layer3.routes, neighbours=layer3.neighbours) == []
