from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.observe import parse_interface_address
from sriov.kernel.netlink import pack_attribute


def make_entry(prefix: int, *attributes: tuple[int, str]) -> bytes:
    packed = b"".join(pack_attribute(kind, ip_address(text).packed) for kind, text in attributes)
    return struct.pack("=BBBBI", 2, prefix, 0, 0, 9) + packed


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (make_entry(24, (1, "192.0.2.11"), (2, "192.0.2.11")), "192.0.2.11/24"),
        (make_entry(32, (1, "192.0.2.99"), (2, "192.0.2.11")), "192.0.2.11/32"),
        (make_entry(64, (1, "2001:db8::11")), "2001:db8::11/64"),
    ],
)
def test_a_devices_own_address_is_read_with_its_prefix(entry: bytes, text: str) -> None:
    assert parse_interface_address(entry) == (9, ip_interface(text))


@given(st.binary(max_size=60))
def test_any_octets_behind_a_header_are_read_without_a_crash(octets: bytes) -> None:
    parse_interface_address(struct.pack("=BBBBI", 2, 24, 0, 0, 9) + octets)
