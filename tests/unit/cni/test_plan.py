"""Plans: each step of an ADD in its order, nothing where nothing differs, and the layer above the link."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cni.attachment import Home
from cni.network import NetworkConfig, RoutedMode
from cni.plan import (
    AddAltname,
    DropAltname,
    FoundVf,
    Move,
    Place,
    SetLink,
    SetVf,
    name_refuge,
    plan_add,
    plan_layer3,
    plan_restore,
    render_ips,
    render_routes,
)
from cni.result import Result, ResultIp
from sriov.link import Link, LinkChange, Neighbour, Route, VfAttributes, VlanTag
from sriov.model import MacAddress, PciAddress

OWN, ASKED, NONE = (MacAddress.parse(text) for text in ("02:00:00:00:00:01", "0a:58:00:00:00:02", "00:00:00:00:00:00"))
VF = PciAddress(0, 3, 16, 1)
LINK = Link(5, "vf1", (), OWN, 1500, up=False, parent=str(VF))
HOME = Home(5, "vf1", (), OWN, 1500, up=False, tells_parent=True)


def wanted(**keys: object) -> NetworkConfig:
    plain: dict[str, object] = {
        "vf": VF, "mac": None, "mtu": None, "attributes": VfAttributes(), "routed": None, "ipam": None,
        "dns": {}, "previous": None, "suspicious": (),
    }  # fmt: skip
    return NetworkConfig(**(plain | keys))


def at_home(link: Link = LINK, **attributes: object) -> FoundVf:
    return FoundVf(link, Place.HOME, VfAttributes(**attributes))


def test_the_least_add_is_one_message() -> None:
    assert plan_add(at_home(), wanted(), ifname="net1") == (Move(Place.POD, LinkChange(name="net1", up=True)),)


def test_attributes_that_are_so_already_are_not_written() -> None:
    config = wanted(attributes=VfAttributes(vlan=VlanTag(5), trust=True))
    steps = plan_add(at_home(vlan=VlanTag(5), trust=False), config, ifname="net1")
    assert steps[0] == SetVf(VfAttributes(trust=True))
    assert len(plan_add(at_home(vlan=VlanTag(5), trust=True), config, ifname="net1")) == 1


def test_the_vf_takes_its_address_before_its_pf_is_told() -> None:
    config = wanted(mac=ASKED, attributes=VfAttributes(mac=ASKED, vlan=VlanTag(5)))
    assert plan_add(at_home(mac=NONE, vlan=VlanTag(0)), config, ifname="net1") == (
        SetVf(VfAttributes(vlan=VlanTag(5))),
        Move(Place.POD, LinkChange(name="net1", mac=ASKED, up=True)),
        SetVf(VfAttributes(mac=ASKED)),
    )


def test_an_address_the_pf_has_set_is_cleared_first() -> None:
    config = wanted(mac=ASKED, attributes=VfAttributes(mac=ASKED))
    assert plan_add(at_home(mac=OWN), config, ifname="net1")[0] == SetVf(VfAttributes(mac=NONE))


def test_a_pf_that_keeps_no_address_is_not_asked_to() -> None:
    config = wanted(mac=ASKED, attributes=VfAttributes(mac=ASKED))
    assert plan_add(at_home(), config, ifname="net1") == (Move(Place.POD, LinkChange(name="net1", mac=ASKED, up=True)),)


def test_names_that_would_be_refused_in_the_pod_stay_behind() -> None:
    link = Link(5, "vf1", ("enp3", "net1", "other"), OWN, 1500, up=False, parent=None)
    steps = plan_add(at_home(link), wanted(), ifname="net1", taken=frozenset({"enp3"}))
    assert steps[:2] == (DropAltname("enp3"), DropAltname("net1"))


def test_a_vf_that_is_as_it_was_needs_nothing() -> None:
    found = at_home(vlan=VlanTag(0), mac=NONE)
    assert plan_restore(found, HOME, VfAttributes(mac=NONE, vlan=VlanTag(0))) == ()


def test_restoring_is_the_way_back() -> None:
    link = Link(9, "net1", ("vf1", "extra"), ASKED, 1400, up=True, parent=str(VF))
    found = FoundVf(link, Place.POD, VfAttributes(mac=ASKED, vlan=VlanTag(5), trust=True))
    home = Home(5, "vf1", ("enp3",), OWN, 1500, up=True, tells_parent=True)
    assert plan_restore(found, home, VfAttributes(mac=NONE, vlan=VlanTag(0), trust=False)) == (
        SetVf(VfAttributes(mac=NONE)),
        DropAltname("vf1"),
        DropAltname("extra"),
        Move(Place.HOME, LinkChange("vf1", OWN, 1500, up=True)),
        SetVf(VfAttributes(vlan=VlanTag(0), trust=False)),
        AddAltname("enp3"),
    )


def test_a_link_that_is_up_is_set_down_for_a_new_name() -> None:
    link = Link(5, "dev5", (), OWN, 1500, up=True, parent=str(VF))
    assert plan_restore(at_home(link), HOME, VfAttributes()) == (
        SetLink(LinkChange(up=False)),
        SetLink(LinkChange(name="vf1")),
    )


def test_a_taken_name_does_not_keep_the_vf_away() -> None:
    refuge = name_refuge(VF)
    assert (refuge, len(name_refuge(PciAddress(65535, 255, 31, 7)))) == ("vf000003101", 11)
    found = FoundVf(LINK, Place.POD, VfAttributes())
    assert plan_restore(found, HOME, VfAttributes(), refuge=refuge) == (Move(Place.HOME, LinkChange(name=refuge)),)


V4 = ResultIp(ip_interface("10.1.1.2/24"), ip_address("10.1.1.1"))
V6 = ResultIp(ip_interface("fd00::2/64"))


def test_without_routed_mode_it_is_as_ipam_says() -> None:
    routes = (
        Route(ip_network("0.0.0.0/0")),
        Route(ip_network("fd01::/16")),
        Route(ip_network("10.9.0.0/16"), V4.gateway),
    )
    layer3 = plan_layer3(None, Result(ips=(V4, V6), routes=routes))
    assert layer3.addresses == (V4.address, V6.address)
    assert [route.gateway for route in layer3.routes] == [V4.gateway, None, V4.gateway]
    assert (layer3.neighbours, layer3.detect_duplicates) == ((), True)


def test_a_route_to_neighbours_has_no_gateway() -> None:
    routes = (Route(ip_network("10.9.0.0/16"), scope=253), Route(ip_network("10.8.0.0/16"), scope=0))
    layer3 = plan_layer3(None, Result(ips=(V4,), routes=routes))
    assert [route.gateway for route in layer3.routes] == [None, V4.gateway]
    assert render_routes(layer3, None) == layer3.routes


def test_routed_mode_asks_nobody() -> None:
    routed = RoutedMode(mtu=1400)
    addresses = Result(ips=(V4, V6), routes=(Route(ip_network("10.0.0.0/8")),))
    layer3 = plan_layer3(routed, addresses)
    assert [str(address) for address in layer3.addresses] == ["10.1.1.2/32", "fd00::2/128"]
    assert [(str(route.to), str(route.gateway), route.mtu) for route in layer3.routes] == [
        ("169.254.1.1/32", "None", None),
        ("fe80::1/128", "None", None),
        ("0.0.0.0/0", "169.254.1.1", 1400),
        ("::/0", "fe80::1", 1400),
    ]
    assert layer3.neighbours == tuple(Neighbour(routed.gateway_of(version), routed.gateway_mac) for version in (4, 6))
    assert layer3.detect_duplicates is False
    assert render_routes(layer3, routed) == layer3.routes[2:]
    ips = render_ips(layer3, routed, addresses, interface=2)
    assert [(str(ip.address), str(ip.gateway), ip.interface) for ip in ips] == [
        ("10.1.1.2/32", "169.254.1.1", 2),
        ("fd00::2/128", "fe80::1", 2),
    ]


@pytest.mark.parametrize(("to", "expected"), [((), []), ((ip_network("10.0.0.0/8"),), ["10.0.0.0/8"])])
def test_named_destinations_replace_the_default_route(to: tuple[object, ...], expected: list[str]) -> None:
    layer3 = plan_layer3(RoutedMode(to=to), Result(ips=(V4,)))
    assert [str(route.to) for route in layer3.routes[1:]] == expected
