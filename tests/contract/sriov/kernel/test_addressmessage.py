"""Our messages about addresses, routes and neighbours say what pyroute2 reads in them: it is the oracle here."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from sriov.document import Address, Interface
from sriov.kernel.addressmessage import (
    parse_address,
    parse_neighbour,
    parse_route,
    render_address,
    render_neighbour,
    render_route,
)
from sriov.link import LinkAddress, Neighbour, Route
from sriov.model import MacAddress

HEADER = struct.Struct("=IHHII")
INDICES = st.integers(1, 2**31 - 1)
NUMBERS = st.none() | st.integers(1, 2**31 - 1)
MACS = st.binary(min_size=6, max_size=6).map(MacAddress)
EXAMPLES = settings(max_examples=40)  # it takes milliseconds for each
FAMILIES = {4: 2, 6: 10}


def interfaces(version: int) -> st.SearchStrategy[Interface]:
    lengths = st.integers(0, 32 if version == 4 else 128)
    return st.builds(lambda address, length: ip_interface((address, length)), st.ip_addresses(v=version), lengths)


INTERFACES = interfaces(4) | interfaces(6)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    version = draw(st.sampled_from((4, 6)))
    return Route(
        ip_network(str(draw(interfaces(version)).network)),
        draw(st.none() | st.ip_addresses(v=version)),
        mtu=draw(NUMBERS),
        advmss=draw(NUMBERS),
        priority=draw(NUMBERS),
        table=draw(NUMBERS),
        scope=draw(st.none() | st.integers(0, 255)),
        on_link=draw(st.booleans()),
    )


def read(kind: Any, message: bytes) -> Any:  # noqa: ANN401 - pyroute2 has no types
    found = kind(HEADER.pack(HEADER.size + len(message), 0, 0, 0, 0) + message)
    found.decode()
    return found


def write(message: Any) -> bytes:  # noqa: ANN401 - pyroute2 has no types
    message.encode()
    return bytes(message.data[HEADER.size :])


def parse(text: str | None) -> Address | None:
    # It writes some IPv6 addresses in another way than the standard library.
    return None if text is None else ip_address(text)


@EXAMPLES
@given(INDICES, INTERFACES, st.booleans())
def test_it_reads_our_addresses(index: int, address: Interface, detect: bool) -> None:
    found = read(ifaddrmsg, render_address(index, address, detect_duplicates=detect))
    assert (found["family"], found["index"]) == (FAMILIES[address.version], index)
    assert (found["prefixlen"], found["scope"]) == (address.network.prefixlen, 0)
    assert parse(found.get_attr("IFA_LOCAL")) == parse(found.get_attr("IFA_ADDRESS")) == address.ip
    broadcast = address.version == 4 and address.network.prefixlen < 31
    assert found.get_attr("IFA_BROADCAST") == (str(address.network.broadcast_address) if broadcast else None)
    assert found.get_attr("IFA_FLAGS") == (0x02 if address.version == 6 and not detect else None)


@EXAMPLES
@given(INDICES, routes())
def test_it_reads_our_routes(index: int, route: Route) -> None:
    found = read(rtmsg, render_route(index, route))
    table = 254 if route.table is None else route.table
    assert (found["family"], found["dst_len"], found["table"]) == (
        FAMILIES[route.to.version], route.to.prefixlen, table if table < 256 else 0,
    )  # fmt: skip
    assert (found["type"], found["proto"], found["flags"]) == (1, 4, 4 if route.on_link else 0)
    assert found["scope"] == (
        route.scope if route.scope is not None else 0 if route.gateway is not None or route.to.version == 6 else 253
    )
    numbers = [found.get_attr(name) for name in ("RTA_OIF", "RTA_TABLE", "RTA_PRIORITY")]
    assert numbers == [index, table, route.priority]
    assert parse(found.get_attr("RTA_GATEWAY")) == route.gateway
    assert parse(found.get_attr("RTA_DST")) == (route.to.network_address if route.to.prefixlen else None)
    metrics = found.get_attr("RTA_METRICS")
    assert (metrics is None) == (route.mtu is None and route.advmss is None)
    if metrics is not None:
        assert (metrics.get_attr("RTAX_MTU"), metrics.get_attr("RTAX_ADVMSS")) == (route.mtu, route.advmss)


@EXAMPLES
@given(INDICES, st.ip_addresses(), MACS)
def test_it_reads_our_neighbours(index: int, address: Address, mac: MacAddress) -> None:
    found = read(ndmsg, render_neighbour(index, Neighbour(address, mac)))
    assert (found["family"], found["ifindex"], found["state"]) == (FAMILIES[address.version], index, 0x80)
    assert (parse(found.get_attr("NDA_DST")), found.get_attr("NDA_LLADDR")) == (address, str(mac))


@EXAMPLES
@given(INDICES, INTERFACES, st.sampled_from((0x80, 0xC0, 0xC8)))
def test_we_read_its_addresses(index: int, address: Interface, flags: int) -> None:
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = (
        FAMILIES[address.version],
        address.network.prefixlen,
        index,
    )
    message["attrs"] = [("IFA_ADDRESS", str(address.ip)), ("IFA_FLAGS", flags)]
    wanted = LinkAddress(address, 0, permanent=True, tentative=flags == 0xC0, duplicate=flags == 0xC8)
    assert parse_address(write(message)) == (index, wanted)


@EXAMPLES
@given(INDICES, routes())
def test_we_read_its_routes(index: int, route: Route) -> None:
    message = rtmsg()
    message["family"], message["dst_len"] = FAMILIES[route.to.version], route.to.prefixlen
    message["type"], message["scope"], message["flags"] = 1, route.scope or 0, 4 if route.on_link else 0
    message["table"] = 254
    message["attrs"] = [
        (name, value)
        for name, value in (
            ("RTA_OIF", index),
            ("RTA_DST", str(route.to.network_address) if route.to.prefixlen else None),
            ("RTA_GATEWAY", None if route.gateway is None else str(route.gateway)),
            ("RTA_TABLE", route.table),
            ("RTA_PRIORITY", route.priority),
            ("RTA_METRICS", _metrics(route)),
        )
        if value is not None
    ]
    found = parse_route(write(message))
    assert found is not None
    table, scope = 254 if route.table is None else route.table, route.scope or 0
    wanted = Route(
        route.to, route.gateway, route.mtu, route.advmss, route.priority, table, scope, on_link=route.on_link
    )
    assert found == (index, wanted)


def _metrics(route: Route) -> dict[str, object] | None:
    given = [("RTAX_MTU", route.mtu), ("RTAX_ADVMSS", route.advmss)]
    return {"attrs": [pair for pair in given if pair[1] is not None]} if route.mtu or route.advmss else None


@EXAMPLES
@given(INDICES, st.ip_addresses(), MACS)
def test_we_read_its_neighbours(index: int, address: Address, mac: MacAddress) -> None:
    message = ndmsg()
    message["family"], message["ifindex"], message["state"] = FAMILIES[address.version], index, 0x80
    message["attrs"] = [("NDA_DST", str(address)), ("NDA_LLADDR", str(mac))]
    assert parse_neighbour(write(message)) == (index, Neighbour(address, mac))
