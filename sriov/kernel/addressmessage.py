"""rtnetlink's messages about addresses, routes and neighbours, to and from values. Pure.

Formats: include/uapi/linux/if_addr.h, rtnetlink.h, neighbour.h (Linux 6.12). A message here is what follows the netlink
header: a fixed part, then attributes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from sriov.document import Address, Interface, Network
from sriov.kernel.netlink import pack_attribute, pack_nested, pack_number, parse_attributes, read_number
from sriov.link import MAIN_TABLE, LinkAddress, Neighbour, Route
from sriov.model import MacAddress

IPV4, IPV6 = 2, 10
"""AF_INET and AF_INET6."""
_FAMILIES = {4: IPV4, 6: IPV6}

_ADDRESS_HEADER = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, link
_ADDRESS, _LOCAL, _BROADCAST, _ADDRESS_FLAGS = 1, 2, 4, 8  # IFA_*
_NO_DAD, _DAD_FAILED, _TENTATIVE, _PERMANENT_ADDRESS = 0x02, 0x08, 0x40, 0x80  # IFA_F_*

_ROUTE_HEADER = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_TO, _LINK, _GATEWAY, _PRIORITY, _METRICS, _TABLE, _VIA = 1, 4, 5, 6, 8, 15, 18  # RTA_*
_ROUTE_MTU, _ADVERTISED_MSS = 2, 8  # RTAX_*
_UNIVERSE, _ON_LINK = 0, 253  # RT_SCOPE_*
_STATIC = 4  # RTPROT_STATIC
_UNICAST = 1  # RTN_UNICAST
_TABLE_IS_ELSEWHERE = 0  # RT_TABLE_UNSPEC: its number does not fit the octet
_GATEWAY_IS_ON_LINK, _CACHED = 0x4, 0x200  # RTNH_F_ONLINK, RTM_F_CLONED

_NEIGHBOUR_HEADER = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
_NEIGHBOUR_ADDRESS, _NEIGHBOUR_MAC, _NEIGHBOUR_LINK = 1, 2, 8  # NDA_*
_PERMANENT = 0x80  # NUD_PERMANENT


# -- addresses ---------------------------------------------------------------------------------------------------------


def render_address(index: int, address: Interface, *, detect_duplicates: bool) -> bytes:
    """Render the address of a link."""
    packed, length = address.ip.packed, address.network.prefixlen
    attributes = [pack_attribute(_LOCAL, packed), pack_attribute(_ADDRESS, packed)]
    if address.version == 4 and length < 31:
        attributes.append(pack_attribute(_BROADCAST, address.network.broadcast_address.packed))
    if address.version == 6 and not detect_duplicates:
        attributes.append(pack_number(_ADDRESS_FLAGS, _NO_DAD))
    header = _ADDRESS_HEADER.pack(_FAMILIES[address.version], length, 0, _UNIVERSE, index)
    return header + b"".join(attributes)


def render_address_filter(index: int) -> bytes:
    """Render the question for all addresses of one link."""
    return _ADDRESS_HEADER.pack(0, 0, 0, 0, index)


def parse_address(message: bytes) -> tuple[int, LinkAddress] | None:
    """Read the link's number and an address; None when it is of another family."""
    if len(message) < _ADDRESS_HEADER.size:
        return None
    family, length, short_flags, scope, index = _ADDRESS_HEADER.unpack_from(message)
    attributes = parse_attributes(message[_ADDRESS_HEADER.size :])
    # With a peer, IFA_ADDRESS is the peer's; IPv6 without one has no IFA_LOCAL.
    address = _read_address(family, attributes.get(_LOCAL, attributes.get(_ADDRESS)))
    if address is None or length > address.max_prefixlen:
        return None
    flags = read_number(attributes[_ADDRESS_FLAGS]) if _ADDRESS_FLAGS in attributes else short_flags
    duplicate = bool(flags & _DAD_FAILED)
    return index, LinkAddress(
        ip_interface((address, length)),
        scope,
        permanent=bool(flags & _PERMANENT_ADDRESS),
        # The kernel leaves the one mark when it sets the other.
        tentative=bool(flags & _TENTATIVE) and not duplicate,
        duplicate=duplicate,
    )


# -- routes ------------------------------------------------------------------------------------------------------------


def render_route(index: int, route: Route) -> bytes:
    """Render a route through a link."""
    table = MAIN_TABLE if route.table is None else route.table
    header = _ROUTE_HEADER.pack(
        _FAMILIES[route.to.version],
        route.to.prefixlen,
        0,
        0,
        table if table < 256 else _TABLE_IS_ELSEWHERE,
        _STATIC,
        _scope(route),
        _UNICAST,
        _GATEWAY_IS_ON_LINK if route.on_link else 0,
    )
    return header + pack_number(_LINK, index) + b"".join(_route_attributes(route, table))


def _scope(route: Route) -> int:
    if route.scope is not None:
        return route.scope
    return _UNIVERSE if route.gateway is not None or route.to.version == 6 else _ON_LINK


def _route_attributes(route: Route, table: int) -> list[bytes]:
    attributes = [pack_number(_TABLE, table)]
    if route.to.prefixlen:
        attributes.append(pack_attribute(_TO, route.to.network_address.packed))
    if route.gateway is not None:
        attributes.append(_render_gateway(route.to, route.gateway))
    if route.priority is not None:
        attributes.append(pack_number(_PRIORITY, route.priority))
    metrics = [
        pack_number(kind, value)
        for kind, value in ((_ROUTE_MTU, route.mtu), (_ADVERTISED_MSS, route.advmss))
        if value is not None
    ]
    return [*attributes, pack_nested(_METRICS, *metrics)] if metrics else attributes


def _render_gateway(to: Network, gateway: Address) -> bytes:
    if to.version == gateway.version:
        return pack_attribute(_GATEWAY, gateway.packed)
    # An IPv4 route by way of an IPv6 neighbour (RFC 5549); the kernel says by itself what it does not take.
    return pack_attribute(_VIA, struct.pack("=H", _FAMILIES[gateway.version]) + gateway.packed)


def render_route_filter(family: int, index: int) -> bytes:
    """Render the question for all routes of one family through one link, whatever their table."""
    return _ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + pack_number(_LINK, index)


def parse_route(message: bytes) -> tuple[int, Route] | None:
    """Read the link's number and a route; None for what is no unicast route through a link of its own."""
    if len(message) < _ROUTE_HEADER.size:
        return None
    family, length, _, _, table, _, scope, kind, flags = _ROUTE_HEADER.unpack_from(message)
    attributes = parse_attributes(message[_ROUTE_HEADER.size :])
    if family not in (IPV4, IPV6) or kind != _UNICAST or flags & _CACHED or _LINK not in attributes:
        return None
    everything = bytes(4 if family == IPV4 else 16)
    to = _read_address(family, attributes.get(_TO, everything))
    if to is None or length > to.max_prefixlen:
        return None
    metrics = parse_attributes(attributes.get(_METRICS, b""))
    return read_number(attributes[_LINK]), Route(
        ip_network((to, length)),
        _read_gateway(family, attributes),
        mtu=_find_number(metrics, _ROUTE_MTU),
        advmss=_find_number(metrics, _ADVERTISED_MSS),
        priority=_find_number(attributes, _PRIORITY),
        table=read_number(attributes[_TABLE]) if _TABLE in attributes else table,
        scope=scope,
        on_link=bool(flags & _GATEWAY_IS_ON_LINK),
    )


def _read_gateway(family: int, attributes: Mapping[int, bytes]) -> Address | None:
    via = attributes.get(_VIA)
    if via is not None and len(via) > 2:
        return _read_address(read_number(via[:2]), via[2:])
    return _read_address(family, attributes.get(_GATEWAY))


# -- neighbours --------------------------------------------------------------------------------------------------------


def render_neighbour(index: int, neighbour: Neighbour) -> bytes:
    """Render a permanent neighbour of a link."""
    header = _NEIGHBOUR_HEADER.pack(_FAMILIES[neighbour.address.version], index, _PERMANENT, 0, 0)
    address = pack_attribute(_NEIGHBOUR_ADDRESS, neighbour.address.packed)
    return header + address + pack_attribute(_NEIGHBOUR_MAC, neighbour.mac.octets)


def render_neighbour_filter(index: int) -> bytes:
    """Render the question for all neighbours of one link."""
    return _NEIGHBOUR_HEADER.pack(0, 0, 0, 0, 0) + pack_number(_NEIGHBOUR_LINK, index)


def parse_neighbour(message: bytes) -> tuple[int, Neighbour] | None:
    """Read the link's number and a neighbour; None when it is not a permanent one with a MAC address."""
    if len(message) < _NEIGHBOUR_HEADER.size:
        return None
    family, index, state, _, _ = _NEIGHBOUR_HEADER.unpack_from(message)
    attributes = parse_attributes(message[_NEIGHBOUR_HEADER.size :])
    address = _read_address(family, attributes.get(_NEIGHBOUR_ADDRESS))
    mac = attributes.get(_NEIGHBOUR_MAC, b"")
    if not state & _PERMANENT or address is None or len(mac) != 6:
        return None
    return index, Neighbour(address, MacAddress(mac))


def _find_number(attributes: Mapping[int, bytes], kind: int) -> int | None:
    value = attributes.get(kind)
    return None if value is None else read_number(value)


def _read_address(family: int, value: bytes | None) -> Address | None:
    if value is not None and family == IPV4 and len(value) == 4:
        return IPv4Address(value)
    if value is not None and family == IPV6 and len(value) == 16:
        return IPv6Address(value)
    return None
