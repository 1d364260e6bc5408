"""What is announced on a link is what comes out of the wire's other end, and what a neighbour then knows."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol

import pytest

from sriov.errors import KernelError
from sriov.kernel.announce import announce, render_announcement
from sriov.kernel.netns import run_in
from sriov.link import Link
from sriov.model import MacAddress

pytestmark = pytest.mark.netns
ADDRESSES = (ip_address("10.1.1.2"), ip_address("fd00::2"))
EVERYTHING = 0x0300  # ETH_P_ALL, in network order
DEADLINE_S = 20


class Place(Protocol):
    """What the fixture of this folder gives."""

    netns: int
    link: Link

    def run(self, *command: str) -> str: ...
    def ip(self, *arguments: str) -> list[dict[str, object]]: ...


@pytest.fixture
def wire(place: Place) -> Iterator[socket.socket]:
    def listen() -> socket.socket:
        connection = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        connection.bind(("wire", 0))
        connection.settimeout(DEADLINE_S)
        return connection

    with run_in(place.netns, listen) as connection:
        yield connection


def test_every_address_is_told_to_everybody(place: Place, wire: socket.socket) -> None:
    link = place.link
    assert link.mac is not None
    missing = {render_announcement(address, link.mac) for address in ADDRESSES}
    announce(link, ADDRESSES, netns=place.netns)
    # The kernel sends some of its own between them (multicast reports, router solicitations).
    while missing:
        missing.discard(wire.recv(2048))


def test_a_neighbour_that_knew_another_mac_address_knows_the_new_one(place: Place) -> None:
    """The kernel at the other end believes the frames: its checks of ARP, and of RFC 4861, are passed."""
    link = place.link
    assert link.mac is not None
    place.run("ip", "address", "add", "10.1.1.9/24", "dev", "wire")
    place.run("ip", "address", "add", "fd00::9/64", "dev", "wire", "nodad")
    # The kernel keeps an entry for a moment whatever it hears; without this it would be a second.
    place.run("sysctl", "-qw", "net.ipv4.neigh.wire.locktime=0")
    for address in ADDRESSES:
        place.run("ip", "neigh", "add", str(address), "lladdr", "0a:00:00:00:00:01", "nud", "stale", "dev", "wire")
    deadline = time.monotonic() + DEADLINE_S
    while not {(str(address), str(link.mac)) for address in ADDRESSES} <= _known(place):
        assert time.monotonic() < deadline, _known(place)
        announce(link, ADDRESSES, netns=place.netns)


def _known(place: Place) -> set[tuple[object, object]]:
    return {(entry["dst"], entry.get("lladdr")) for entry in place.ip("neigh", "show", "dev", "wire")}


def test_without_a_descriptor_it_is_the_calling_threads_namespace(place: Place, wire: socket.socket) -> None:
    link = place.link
    assert link.mac is not None
    run_in(place.netns, lambda: announce(link, ADDRESSES[:1], netns=None))
    while wire.recv(2048) != render_announcement(ADDRESSES[0], link.mac):
        pass


def test_a_link_that_is_down_says_so(place: Place) -> None:
    link = place.link
    place.run("ip", "link", "set", "net1", "down")
    with pytest.raises(KernelError, match=r"link net1: kernel refused to announce its addresses: ENETDOWN") as caught:
        announce(link, ADDRESSES, netns=place.netns)
    assert caught.value.errno == errno.ENETDOWN


def test_a_link_that_is_gone_says_so(place: Place) -> None:
    gone = Link(99, "gone", (), MacAddress.parse("0a:00:00:00:00:01"), 1500, up=True, parent=None)
    with pytest.raises(KernelError, match="link gone: kernel refused to announce its addresses: ENODEV"):
        announce(gone, ADDRESSES, netns=place.netns)


def test_no_addresses_and_no_mac_address_are_nothing_to_tell(place: Place) -> None:
    announce(place.link, (), netns=place.netns)
    announce(replace(place.link, mac=None), ADDRESSES, netns=place.netns)
