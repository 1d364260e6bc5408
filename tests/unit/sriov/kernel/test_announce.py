"""What neighbours are told, octet by octet."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st

from sriov.kernel.announce import render_announcement
from sriov.model import MacAddress

MAC = MacAddress.parse("0a:58:0a:01:01:02")


def test_an_ipv4_address_is_announced_by_a_request_for_itself() -> None:
    frame = render_announcement(ip_address("10.1.1.2"), MAC)
    assert frame.hex() == (
        "ffffffffffff" "0a580a010102" "0806"
        "0001" "0800" "06" "04" "0001"
        "0a580a010102" "0a010102" "000000000000" "0a010102"
    )  # fmt: skip


def test_an_ipv6_address_is_advertised_to_all_nodes_and_overrides_what_they_know() -> None:
    frame = render_announcement(ip_address("fd00::2"), MAC)
    assert (frame[:6].hex(), frame[6:12], frame[12:14].hex()) == ("333300000001", MAC.octets, "86dd")
    header, message = frame[14:54], frame[54:]
    assert struct.unpack("!IHBB", header[:8]) == (6 << 28, len(message), 58, 255)
    assert (header[8:24], header[24:]) == (IPv6Address("fd00::2").packed, IPv6Address("ff02::1").packed)
    assert struct.unpack("!BBxxI", message[:8]) == (136, 0, 0x20000000)
    assert message[8:] == IPv6Address("fd00::2").packed + b"\x02\x01" + MAC.octets


@given(st.ip_addresses(v=6), st.binary(min_size=6, max_size=6).map(MacAddress))
def test_the_checksum_of_an_advertisement_is_right(address: IPv6Address, mac: MacAddress) -> None:
    frame = render_announcement(address, mac)
    message = frame[54:]
    pseudo = frame[22:54] + struct.pack("!II", len(message), 58)
    total = sum(struct.unpack(f"!{(len(pseudo) + len(message)) // 2}H", pseudo + message))
    # RFC 1071: with the checksum in it, the sum is all ones.
    assert total % 0xFFFF == 0


@given(st.ip_addresses(v=4), st.binary(min_size=6, max_size=6).map(MacAddress))
def test_sender_and_target_of_an_arp_announcement_are_one(address: IPv4Address, mac: MacAddress) -> None:
    frame = render_announcement(address, mac)
    assert (len(frame), frame[28:32], frame[38:42]) == (42, address.packed, address.packed)
    assert frame[6:12] == frame[22:28] == mac.octets
