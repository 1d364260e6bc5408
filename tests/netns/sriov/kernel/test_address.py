"""Addresses, routes and neighbours over real rtnetlink; `ip` says what has come of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Interface, ip_address, ip_interface, ip_network
from typing import Protocol

import pytest

from sriov.errors import KernelError
from sriov.kernel.address import Addressing, await_addresses, watch_addresses
from sriov.kernel.link import Links
from sriov.kernel.netlink import NetlinkSocket
from sriov.link import LinkAddress, Neighbour, Route
from sriov.model import MacAddress

pytestmark = pytest.mark.netns
MAC = MacAddress.parse("0a:58:a9:fe:01:01")
DEADLINE_S = 20


class Place(Protocol):
    """What the fixture of this folder gives."""

    netns: int
    netlink: NetlinkSocket
    index: int

    def run(self, *command: str) -> str: ...
    def ip(self, *arguments: str) -> list[dict[str, object]]: ...


@pytest.fixture
def addressing(place: Place) -> Addressing:
    return Addressing(place.netlink)


def test_an_address_is_there_once_however_often_it_is_added(place: Place, addressing: Addressing) -> None:
    for text in ("10.1.1.2/24", "10.1.1.3/32", "fd00::2/64"):
        for _ in range(2):
            addressing.add_address(place.index, ip_interface(text), detect_duplicates=False)
    local = {entry["local"]: entry for entry in place.ip("address", "show", "net1")[0]["addr_info"]}
    assert {(text, local[text]["prefixlen"]) for text in local} > {("10.1.1.2", 24), ("10.1.1.3", 32), ("fd00::2", 64)}
    assert local["10.1.1.2"]["broadcast"] == "10.1.1.255"
    assert local["fd00::2"]["nodad"] is True
    assert "tentative" not in local["fd00::2"]


def test_duplicates_are_looked_for_where_that_is_wanted(place: Place, addressing: Addressing) -> None:
    addressing.add_address(place.index, ip_interface("fd00::3/64"), detect_duplicates=True)
    local = {entry["local"]: entry for entry in place.ip("address", "show", "net1")[0]["addr_info"]}
    assert "nodad" not in local["fd00::3"]


def test_routes_with_gateway_mtu_table_and_priority(place: Place, addressing: Addressing) -> None:
    gateway = ip_address("169.254.1.1")
    addressing.add_address(place.index, ip_interface("10.1.1.2/32"), detect_duplicates=False)
    routes = (
        Route(ip_network("169.254.1.1/32")),
        Route(ip_network("0.0.0.0/0"), gateway, mtu=1400, advmss=1300),
        Route(ip_network("10.9.0.0/16"), gateway, table=1000, priority=7),
    )
    for _ in range(2):
        for route in routes:
            addressing.add_route(place.index, route)
    main = {route["dst"]: route for route in place.ip("route")}
    assert main["169.254.1.1"]["scope"] == "link"
    assert main["default"]["metrics"] == [{"mtu": 1400, "advmss": 1300}]
    assert len(place.ip("route")) == 2
    (other,) = place.ip("route", "show", "table", "1000")
    assert (other["dst"], other["metric"]) == ("10.9.0.0/16", 7)


def test_ipv6_routes(place: Place, addressing: Addressing) -> None:
    gateway = ip_address("fe80::1")
    for _ in range(2):
        addressing.add_route(place.index, Route(ip_network("fe80::1/128")))
        addressing.add_route(place.index, Route(ip_network("::/0"), gateway, mtu=1400))
    (default,) = [route for route in place.ip("-6", "route") if route["dst"] == "default"]
    assert (default["gateway"], default["metrics"]) == ("fe80::1", [{"mtu": 1400}])


def test_a_gateway_out_of_reach_is_refused_with_its_route(place: Place, addressing: Addressing) -> None:
    with pytest.raises(
        KernelError, match=r"add route 0.0.0.0/0 via 192.0.2.1: ENETUNREACH .* it says 'Nexthop has invalid"
    ):
        addressing.add_route(place.index, Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.1")))


def test_a_neighbour_stays_for_good(place: Place, addressing: Addressing) -> None:
    for text in ("169.254.1.1", "fe80::1"):
        for _ in range(2):
            addressing.add_neighbour(place.index, Neighbour(ip_address(text), MAC))
    found = {entry["dst"]: (entry["lladdr"], entry["state"]) for entry in place.ip("neighbour", "show", "dev", "net1")}
    assert found == {"169.254.1.1": (str(MAC), ["PERMANENT"]), "fe80::1": (str(MAC), ["PERMANENT"])}


# -- reading back ------------------------------------------------------------------------------------------------------


def test_what_was_added_is_read_back(place: Place, addressing: Addressing) -> None:
    addresses = tuple(ip_interface(text) for text in ("10.1.1.2/24", "fd00::2/64"))
    gateway = ip_address("10.1.1.1")
    wishes = (
        Route(ip_network("10.9.0.0/16"), gateway, mtu=1400, advmss=1300, priority=7, table=1000),
        Route(ip_network("0.0.0.0/0"), gateway),
        Route(ip_network("10.8.0.0/16"), scope=253),
        Route(ip_network("fd01::/64"), ip_address("fd00::1"), priority=5),
    )
    neighbours = tuple(Neighbour(ip_address(text), MAC) for text in ("10.1.1.1", "fd00::1"))
    for address in addresses:
        addressing.add_address(place.index, address, detect_duplicates=False)
    for wish in wishes:
        addressing.add_route(place.index, wish)
    for neighbour in neighbours:
        addressing.add_neighbour(place.index, neighbour)
    found = {address.address: address for address in addressing.read_addresses(place.index)}
    assert found.keys() > set(addresses)
    assert found[addresses[1]] == LinkAddress(addresses[1], 0, permanent=True, tentative=False, duplicate=False)
    routes = addressing.read_routes(place.index)
    assert all(any(wish.is_met_by(route) for route in routes) for wish in wishes)
    # The kernel's own, for the prefix of an address.
    assert any(Route(ip_network("10.1.1.0/24"), scope=253).is_met_by(route) for route in routes)
    assert set(addressing.read_neighbours(place.index)) == set(neighbours)


def test_another_links_are_not_read(place: Place, addressing: Addressing) -> None:
    wire = Links(place.netlink).find("wire")
    assert wire is not None
    addressing.add_address(wire.index, ip_interface("10.1.1.2/24"), detect_duplicates=False)
    addressing.add_route(wire.index, Route(ip_network("10.9.0.0/16"), ip_address("10.1.1.1")))
    addressing.add_neighbour(wire.index, Neighbour(ip_address("10.1.1.1"), MAC))
    assert all(address.address.version == 6 for address in addressing.read_addresses(place.index))
    assert all(route.to.version == 6 for route in addressing.read_routes(place.index))
    assert addressing.read_neighbours(place.index) == ()


def test_a_link_that_is_not_there_has_nothing(addressing: Addressing) -> None:
    assert addressing.read_addresses(4711) == addressing.read_routes(4711) == addressing.read_neighbours(4711) == ()


def test_a_gateway_that_no_route_reaches_is_taken_to_be_on_the_link_when_told_so(
    place: Place, addressing: Addressing
) -> None:
    addressing.add_address(place.index, ip_interface("10.1.1.2/32"), detect_duplicates=False)
    for to, gateway in (("0.0.0.0/0", "169.254.1.1"), ("::/0", "2001:db8::1")):
        wish = Route(ip_network(to), ip_address(gateway), on_link=True)
        addressing.add_route(place.index, wish)
        assert any(wish.is_met_by(route) and route.on_link for route in addressing.read_routes(place.index))


# -- duplicates --------------------------------------------------------------------------------------------------------


def test_the_wait_ends_when_the_network_was_asked(place: Place, addressing: Addressing) -> None:
    address = ip_interface("fd00::3/64")
    addressing.add_address(place.index, address, detect_duplicates=True)
    found = await_addresses(addressing, place.index, netns=place.netns, timeout_s=DEADLINE_S)
    assert not any(entry.tentative or entry.duplicate for entry in found)
    assert address in [entry.address for entry in found]


def test_an_address_that_somebody_else_has_is_told(place: Place, addressing: Addressing) -> None:
    address = ip_interface("fd00::4/64")
    assert isinstance(address, IPv6Interface)
    wire = Links(place.netlink).find("wire")
    assert wire is not None
    # Across the pair, in the same namespace: the kernel answers on `wire` for what `wire` has.
    addressing.add_address(wire.index, address, detect_duplicates=False)
    addressing.add_address(place.index, address, detect_duplicates=True)
    found = await_addresses(addressing, place.index, netns=place.netns, timeout_s=DEADLINE_S)
    assert [entry.duplicate for entry in found if entry.address == address] == [True]
    assert not any(entry.tentative for entry in found)


def test_without_carrier_nobody_is_asked_and_the_wait_has_an_end(place: Place, addressing: Addressing) -> None:
    place.run("ip", "link", "set", "wire", "down")
    _until(lambda: not Links(place.netlink).find_index(place.index).carrier)  # type: ignore[union-attr]
    addressing.add_address(place.index, ip_interface("fd00::5/64"), detect_duplicates=True)
    found = await_addresses(addressing, place.index, netns=place.netns, timeout_s=0.2)
    assert [entry.tentative for entry in found if str(entry.address) == "fd00::5/64"] == [True]


def test_a_change_of_some_address_ends_the_wait(place: Place, addressing: Addressing) -> None:
    done = threading.Event()
    with watch_addresses(place.netns) as wait:
        thread = threading.Thread(target=lambda: (wait(DEADLINE_S), done.set()))
        thread.start()
        addressing.add_address(place.index, ip_interface("10.1.1.7/32"), detect_duplicates=False)
        assert done.wait(DEADLINE_S)
        thread.join()


def test_ipv6_switched_off_on_the_link_is_refused(place: Place, addressing: Addressing) -> None:
    place.run("sysctl", "-qw", "net.ipv6.conf.net1.disable_ipv6=1")
    with pytest.raises(KernelError, match=r"add address fd00::6/64: EACCES .*IPv6 is disabled on this device"):
        addressing.add_address(place.index, ip_interface("fd00::6/64"), detect_duplicates=True)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
