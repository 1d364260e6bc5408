"""Addresses, routes and neighbours over real rtnetlink; `ip` says what has come of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from sriov.errors import KernelError
from sriov.kernel.address import Addressing
from sriov.kernel.link import Links, open_rtnetlink
from sriov.link import Neighbour, Route
from sriov.model import MacAddress

pytestmark = pytest.mark.netns
MAC = MacAddress.parse("0a:58:a9:fe:01:01")


class Place:
    """A namespace with one veth pair, its end ``net1`` up."""

    def __init__(self, path: str, addressing: Addressing, index: int) -> None:
        self.path = path
        self.addressing = addressing
        self.index = index

    def ip(self, *arguments: str) -> list[dict[str, object]]:
        command = ["nsenter", f"--net={self.path}", "ip", "-json", *arguments]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout or b"[]")


@pytest.fixture
def place() -> Iterator[Place]:
    script = "ip link add net1 type veth peer name wire && ip link set wire up && ip link set net1 up && echo && exec sleep 300"
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    try:
        if not keeper.stdout.readline():
            pytest.skip("cannot make network namespaces here")
        path = f"/proc/{keeper.pid}/ns/net"
        descriptor = os.open(path, os.O_RDONLY)
        with open_rtnetlink(subject="test", netns=descriptor) as netlink:
            link = Links(netlink).find("net1")
            assert link is not None
            yield Place(path, Addressing(netlink), link.index)
        os.close(descriptor)
    finally:
        keeper.kill()
        keeper.wait()
        keeper.stdout.close()


def test_an_address_is_there_once_however_often_it_is_added(place: Place) -> None:
    for text in ("10.1.1.2/24", "10.1.1.3/32", "fd00::2/64"):
        for _ in range(2):
            place.addressing.add_address(place.index, ip_interface(text), detect_duplicates=False)
    local = {entry["local"]: entry for entry in place.ip("address", "show", "net1")[0]["addr_info"]}
    assert {(text, local[text]["prefixlen"]) for text in local} > {("10.1.1.2", 24), ("10.1.1.3", 32), ("fd00::2", 64)}
    assert local["10.1.1.2"]["broadcast"] == "10.1.1.255"
    assert local["fd00::2"]["nodad"] is True
    assert "tentative" not in local["fd00::2"]


def test_duplicates_are_looked_for_where_that_is_wanted(place: Place) -> None:
    place.addressing.add_address(place.index, ip_interface("fd00::3/64"), detect_duplicates=True)
    local = {entry["local"]: entry for entry in place.ip("address", "show", "net1")[0]["addr_info"]}
    assert "nodad" not in local["fd00::3"]


def test_routes_with_gateway_mtu_table_and_priority(place: Place) -> None:
    gateway = ip_address("169.254.1.1")
    place.addressing.add_address(place.index, ip_interface("10.1.1.2/32"), detect_duplicates=False)
    routes = (
        Route(ip_network("169.254.1.1/32")),
        Route(ip_network("0.0.0.0/0"), gateway, mtu=1400, advmss=1300),
        Route(ip_network("10.9.0.0/16"), gateway, table=1000, priority=7),
    )
    for _ in range(2):
        for route in routes:
            place.addressing.add_route(place.index, route)
    main = {route["dst"]: route for route in place.ip("route")}
    assert main["169.254.1.1"]["scope"] == "link"
    assert main["default"]["metrics"] == [{"mtu": 1400, "advmss": 1300}]
    assert len(place.ip("route")) == 2
    (other,) = place.ip("route", "show", "table", "1000")
    assert (other["dst"], other["metric"]) == ("10.9.0.0/16", 7)


def test_ipv6_routes(place: Place) -> None:
    gateway = ip_address("fe80::1")
    for _ in range(2):
        place.addressing.add_route(place.index, Route(ip_network("fe80::1/128")))
        place.addressing.add_route(place.index, Route(ip_network("::/0"), gateway, mtu=1400))
    (default,) = [route for route in place.ip("-6", "route") if route["dst"] == "default"]
    assert (default["gateway"], default["metrics"]) == ("fe80::1", [{"mtu": 1400}])


def test_a_gateway_out_of_reach_is_refused_with_its_route(place: Place) -> None:
    with pytest.raises(
        KernelError, match=r"add route 0.0.0.0/0 via 192.0.2.1: ENETUNREACH .* it says 'Nexthop has invalid"
    ):
        place.addressing.add_route(place.index, Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.1")))


def test_a_neighbour_stays_for_good(place: Place) -> None:
    for text in ("169.254.1.1", "fe80::1"):
        for _ in range(2):
            place.addressing.add_neighbour(place.index, Neighbour(ip_address(text), MAC))
    found = {entry["dst"]: (entry["lladdr"], entry["state"]) for entry in place.ip("neighbour", "show", "dev", "net1")}
    assert found == {"169.254.1.1": (str(MAC), ["PERMANENT"]), "fe80::1": (str(MAC), ["PERMANENT"])}
