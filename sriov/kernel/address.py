"""Give a link addresses, routes and permanent neighbours through rtnetlink, and read them back.

Adding what is there already is no error: every step may be repeated. `sriov.kernel.addressmessage` has the messages.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sriov.document import Interface
from sriov.errors import KernelError
from sriov.kernel.addressmessage import (
    IPV4,
    IPV6,
    parse_address,
    parse_neighbour,
    parse_route,
    render_address,
    render_address_filter,
    render_neighbour,
    render_neighbour_filter,
    render_route,
    render_route_filter,
)
from sriov.kernel.netlink import CREATE, EXCLUSIVE, REPLACE, NetlinkSocket
from sriov.kernel.watch import ADDRESSES, Wait, watch_rtnetlink
from sriov.link import LinkAddress, Neighbour, Route

T = TypeVar("T")

_NEW_ADDRESS, _READ_ADDRESSES = 20, 22
_NEW_ROUTE, _READ_ROUTES = 24, 26
_NEW_NEIGHBOUR, _READ_NEIGHBOURS = 28, 30
_APPEND = 0x800  # NLM_F_APPEND


def watch_addresses(netns: int | None = None) -> AbstractContextManager[Wait]:
    """Give a function that waits until an address in a namespace has changed, or so many seconds have passed.

    It does not tell what has happened: look. Nothing that happens inside the block, before the call, is missed.

    Args:
        netns: a descriptor of the namespace, stays the caller's; None: the calling thread's own.

    Raises:
        KernelError: the namespace cannot be entered.
    """
    return watch_rtnetlink(ADDRESSES, netns=netns)


class Addressing:
    """What a namespace's links are called at the network layer.

    Args:
        netlink: a socket of that namespace; stays the caller's.
    """

    def __init__(self, netlink: NetlinkSocket) -> None:
        self._netlink = netlink

    # -- changing ------------------------------------------------------------------------------------------------------

    def add_address(self, index: int, address: Interface, *, detect_duplicates: bool) -> None:
        """Give the link an address.

        Args:
            index: the link's number.
            address: with its prefix length; the kernel adds the prefix' route itself.
            detect_duplicates: whether IPv6 asks the network first; such an address is not usable for a second or so
                (`await_addresses`).

        Raises:
            KernelError: the kernel refused; EACCES: IPv6 is switched off on the link (`sriov.kernel.sysctl`).
        """
        message = render_address(index, address, detect_duplicates=detect_duplicates)
        self._add(_NEW_ADDRESS, message, flags=CREATE | EXCLUSIVE, operation=f"add address {address}")

    def add_route(self, index: int, route: Route) -> None:
        """Add a route through the link, which must be up.

        Raises:
            KernelError: the kernel refused; ENETUNREACH means that the gateway is on no route of the link's.
        """
        via = "" if route.gateway is None else f" via {route.gateway}"
        # Appended: beside another link's route to the same destination, where EXCLUSIVE would be refused.
        message, operation = render_route(index, route), f"add route {route.to}{via}"
        self._add(_NEW_ROUTE, message, flags=CREATE | _APPEND, operation=operation)

    def add_neighbour(self, index: int, neighbour: Neighbour) -> None:
        """Tell the link for good which MAC address a neighbour has.

        Raises:
            KernelError: the kernel refused.
        """
        operation = f"add neighbour {neighbour.address} at {neighbour.mac}"
        self._add(_NEW_NEIGHBOUR, render_neighbour(index, neighbour), flags=CREATE | REPLACE, operation=operation)

    def _add(self, kind: int, message: bytes, *, flags: int, operation: str) -> None:
        try:
            self._netlink.request(kind, message, operation=operation, flags=flags)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise

    # -- reading -------------------------------------------------------------------------------------------------------

    def read_addresses(self, index: int) -> tuple[LinkAddress, ...]:
        """Read every address of the link, the link-local one included.

        Raises:
            KernelError: the kernel refused.
        """
        message = render_address_filter(index)
        return self._read(_READ_ADDRESSES, message, index, parse_address, operation=f"list addresses of link {index}")

    def read_routes(self, index: int) -> tuple[Route, ...]:
        """Read every unicast route through the link alone, of both families and all tables.

        Those the kernel made for the link's addresses are among them. `Route.is_met_by` compares.

        Raises:
            KernelError: the kernel refused.
        """
        operation = f"list routes of link {index}"
        return tuple(
            route
            for family in (IPV4, IPV6)
            for route in self._read(
                _READ_ROUTES, render_route_filter(family, index), index, parse_route, operation=operation
            )
        )

    def read_neighbours(self, index: int) -> tuple[Neighbour, ...]:
        """Read the link's permanent neighbours.

        Raises:
            KernelError: the kernel refused.
        """
        message, operation = render_neighbour_filter(index), f"list neighbours of link {index}"
        return self._read(_READ_NEIGHBOURS, message, index, parse_neighbour, operation=operation)

    def _read(
        self, kind: int, message: bytes, index: int, parse: Callable[[bytes], tuple[int, T] | None], *, operation: str
    ) -> tuple[T, ...]:
        try:
            answers = self._netlink.dump(kind, message, operation=operation)
        except KernelError as error:
            # So says the kernel of a filter for a link that is not there (any more).
            if error.errno == errno.ENODEV:
                return ()
            raise
        found = (parse(answer.payload) for answer in answers)
        # Kernels before 4.20 do not heed the filter.
        return tuple(pair[1] for pair in found if pair is not None and pair[0] == index)


def await_addresses(
    addressing: Addressing, index: int, *, netns: int | None, timeout_s: float
) -> tuple[LinkAddress, ...]:
    """Wait until IPv6 has asked the network for every address of a link. Returns all its addresses as they then are.

    The kernel asks once the link has a carrier, and takes one to two seconds (net/ipv6/addrconf.c). What is
    `LinkAddress.tentative` in the answer was not settled in time; what is `LinkAddress.duplicate` is somebody else's.

    Args:
        addressing: of the link's namespace.
        index: the link's number.
        netns: a descriptor of that namespace, stays the caller's; None: the calling thread's own.
        timeout_s: how long to wait at most, in seconds.

    Raises:
        KernelError: the kernel refused.
    """
    deadline = time.monotonic() + timeout_s
    found = addressing.read_addresses(index)
    if not _is_any_tentative(found):
        return found
    with watch_addresses(netns) as wait:
        found = addressing.read_addresses(index)
        while _is_any_tentative(found) and (left := deadline - time.monotonic()) > 0:
            wait(left)
            found = addressing.read_addresses(index)
    return found


def _is_any_tentative(addresses: tuple[LinkAddress, ...]) -> bool:
    return any(address.tentative for address in addresses)
