"""Give a link addresses, routes and permanent neighbours through rtnetlink.

Messages are coded by pyroute2, imported when the first one is needed (as in `sriov.kernel.link`). Adding what is there
already is no error: every step may be repeated. Formats: include/uapi/linux/if_addr.h, rtnetlink.h, neighbour.h.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from sriov.document import Address, Interface
from sriov.errors import KernelError
from sriov.kernel.netlink import CREATE, EXCLUSIVE, REPLACE, NetlinkSocket
from sriov.link import Neighbour, Route

_NEW_ADDRESS, _NEW_ROUTE, _NEW_NEIGHBOUR = 20, 24, 28
_HEADER_SIZE = 16

_NO_DAD = 0x02  # IFA_F_NODAD
_PERMANENT = 0x80  # NUD_PERMANENT
_UNIVERSE, _ON_LINK = 0, 253  # RT_SCOPE_*
_MAIN_TABLE = 254
_STATIC = 4  # RTPROT_STATIC
_UNICAST = 1  # RTN_UNICAST
_APPEND = 0x800  # NLM_F_APPEND


class Addressing:
    """What a namespace's links are called at the network layer.

    Args:
        netlink: a socket of that namespace; stays the caller's.
    """

    def __init__(self, netlink: NetlinkSocket) -> None:
        self._netlink = netlink

    def add_address(self, index: int, address: Interface, *, detect_duplicates: bool) -> None:
        """Give the link an address.

        Args:
            index: the link's number.
            address: with its prefix length; the kernel adds the prefix' route itself.
            detect_duplicates: whether IPv6 asks the network first; such an address is not usable for a second or so.

        Raises:
            KernelError: the kernel refused.
        """
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

        message = ifaddrmsg()
        message["family"] = _family(address.ip)
        message["index"] = index
        message["prefixlen"] = address.network.prefixlen
        message["attrs"] = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
        if address.version == 4 and address.network.prefixlen < 31:
            message["attrs"].append(("IFA_BROADCAST", str(address.network.broadcast_address)))
        if address.version == 6 and not detect_duplicates:
            message["attrs"].append(("IFA_FLAGS", _NO_DAD))
        self._add(_NEW_ADDRESS, message, flags=CREATE | EXCLUSIVE, operation=f"add address {address}")

    def add_route(self, index: int, route: Route) -> None:
        """Add a route through the link, which must be up.

        Raises:
            KernelError: the kernel refused; ENETUNREACH means that the gateway is on no route of the link's.
        """
        from pyroute2.netlink.rtnl.rtmsg import rtmsg

        message = rtmsg()
        message["family"] = _family(route.to.network_address)
        message["dst_len"] = route.to.prefixlen
        message["table"] = _MAIN_TABLE if route.table is None or route.table > 255 else route.table
        message["proto"], message["type"] = _STATIC, _UNICAST
        message["scope"] = _route_scope(route)
        message["attrs"] = [("RTA_OIF", index), *_route_attributes(route)]
        via = "" if route.gateway is None else f" via {route.gateway}"
        # Appended: beside another link's route to the same destination, where EXCLUSIVE would be refused.
        self._add(_NEW_ROUTE, message, flags=CREATE | _APPEND, operation=f"add route {route.to}{via}")

    def add_neighbour(self, index: int, neighbour: Neighbour) -> None:
        """Tell the link for good which MAC address a neighbour has.

        Raises:
            KernelError: the kernel refused.
        """
        from pyroute2.netlink.rtnl.ndmsg import ndmsg

        message = ndmsg()
        message["family"] = _family(neighbour.address)
        message["ifindex"] = index
        message["state"] = _PERMANENT
        message["attrs"] = [("NDA_DST", str(neighbour.address)), ("NDA_LLADDR", str(neighbour.mac))]
        operation = f"add neighbour {neighbour.address} at {neighbour.mac}"
        self._add(_NEW_NEIGHBOUR, message, flags=CREATE | REPLACE, operation=operation)

    def _add(self, kind: int, message: Any, *, flags: int, operation: str) -> None:  # noqa: ANN401 - pyroute2 has no types
        try:
            self._netlink.request(kind, _encode(message), operation=operation, flags=flags)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise


def _encode(message: Any) -> bytes:  # noqa: ANN401 - pyroute2 has no types
    message.encode()
    return bytes(message.data[_HEADER_SIZE:])


def _route_scope(route: Route) -> int:
    if route.scope is not None:
        return route.scope
    return _UNIVERSE if route.gateway is not None or route.to.version == 6 else _ON_LINK


def _route_attributes(route: Route) -> list[tuple[str, object]]:
    metrics = [("RTAX_MTU", route.mtu), ("RTAX_ADVMSS", route.advmss)]
    given = [pair for pair in metrics if pair[1] is not None]
    found: list[tuple[str, object | None]] = [
        ("RTA_DST", str(route.to.network_address) if route.to.prefixlen else None),
        ("RTA_GATEWAY", None if route.gateway is None else str(route.gateway)),
        ("RTA_TABLE", route.table),
        ("RTA_PRIORITY", route.priority),
        ("RTA_METRICS", {"attrs": given} if given else None),
    ]
    return [(name, value) for name, value in found if value is not None]


def _family(address: Address) -> int:
    return int(socket.AF_INET if address.version == 4 else socket.AF_INET6)
