"""Tell the neighbours of a link at once which MAC address its addresses have now.

Whoever talked to another pod at that address has its MAC address cached, and switches have learnt it elsewhere. IPv4: an
ARP announcement (RFC 5227, section 3: a request in which sender and target are the same address). IPv6: an unsolicited
neighbour advertisement to all nodes, with the override flag (RFC 4861, section 7.2.6). Both are whole Ethernet frames on
an AF_PACKET socket: they need neither a route nor an address the kernel already takes for usable.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from sriov.document import Address
from sriov.errors import KernelError
from sriov.kernel import netns as namespaces
from sriov.link import Link
from sriov.model import MacAddress

_BROADCAST = bytes([0xFF] * 6)
_ETHERTYPE_ARP, _ETHERTYPE_IPV6 = 0x0806, 0x86DD
_ARP = struct.Struct("!HHBBH")  # hardware, protocol, their lengths, operation
_ETHERNET, _IPV4, _REQUEST = 1, 0x0800, 1

_ALL_NODES = IPv6Address("ff02::1").packed
_ALL_NODES_MAC = bytes.fromhex("333300000001")  # RFC 2464, section 7
_IPV6_START = 6 << 28
_ICMPV6, _HOP_LIMIT = 58, 255
_ADVERTISEMENT = struct.Struct("!BBHI")  # type, code, checksum, flags
_NEIGHBOUR_ADVERTISEMENT, _OVERRIDE = 136, 0x20000000
_TARGET_MAC = struct.pack("!BB", 2, 1)  # RFC 4861, section 4.6.1; its length is 1 unit of 8 octets


def announce(link: Link, addresses: Iterable[Address], *, netns: int | None) -> None:
    """Announce each address on a link. Nobody answers; a link without carrier swallows it.

    Args:
        link: as it is now: its name and MAC address; it must be up.
        addresses: which.
        netns: a descriptor of the link's namespace, stays the caller's; None: the calling thread's own.

    Raises:
        KernelError: the namespace cannot be entered, or the kernel does not send (ENETDOWN: the link is down).
    """
    mac = link.mac
    frames = [] if mac is None else [render_announcement(address, mac) for address in addresses]
    if not frames:
        return

    def send() -> None:
        _send(link.name, frames)

    if netns is None:
        send()
    else:
        namespaces.run_in(netns, send)


def _send(name: str, frames: Iterable[bytes]) -> None:
    try:
        # Protocol 0: it receives nothing.
        connection = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            connection.bind((name, 0))
            for frame in frames:
                connection.send(frame)
        finally:
            # The kernel waits for every CPU before it lets such a socket go (net/packet/af_packet.c, ``packet_release``):
            # some 15 ms, which nobody has to wait for.
            threading.Thread(target=connection.close, name="close", daemon=True).start()
    except OSError as error:
        raise KernelError.from_oserror(error, subject=f"link {name}", operation="announce its addresses") from error


def render_announcement(address: Address, mac: MacAddress) -> bytes:
    """Render the frame that tells everybody on the link that `address` is at `mac`. Pure."""
    return _render_arp(address, mac) if isinstance(address, IPv4Address) else _render_advertisement(address, mac)


def _render_arp(address: IPv4Address, mac: MacAddress) -> bytes:
    ethernet = _BROADCAST + mac.octets + struct.pack("!H", _ETHERTYPE_ARP)
    start = _ARP.pack(_ETHERNET, _IPV4, 6, 4, _REQUEST)
    return ethernet + start + mac.octets + address.packed + bytes(6) + address.packed


def _render_advertisement(address: IPv6Address, mac: MacAddress) -> bytes:
    body = address.packed + _TARGET_MAC + mac.octets
    length = _ADVERTISEMENT.size + len(body)
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", length, _ICMPV6)
    unsummed = _ADVERTISEMENT.pack(_NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + body
    message = _ADVERTISEMENT.pack(_NEIGHBOUR_ADVERTISEMENT, 0, _checksum(pseudo + unsummed), _OVERRIDE) + body
    header = struct.pack("!IHBB", _IPV6_START, length, _ICMPV6, _HOP_LIMIT) + address.packed + _ALL_NODES
    return _ALL_NODES_MAC + mac.octets + struct.pack("!H", _ETHERTYPE_IPV6) + header + message


def _checksum(octets: bytes) -> int:
    """Compute the checksum of RFC 1071 over an even number of octets."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
