from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from sriov.kernel.netlink import (
    pack_attribute,
    pack_text,
    parse_attributes,
    read_number,
    read_text,
    split_messages,
    walk_attributes,
)

ATTRIBUTES = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=20)), max_size=6)


@given(ATTRIBUTES)
def test_attributes_come_back_as_they_were(attributes: list[tuple[int, bytes]]) -> None:
    octets = b"".join(pack_attribute(kind, value) for kind, value in attributes)
    assert len(octets) % 4 == 0
    assert list(walk_attributes(octets)) == attributes
    assert parse_attributes(octets) == dict(attributes)


@given(st.binary(max_size=100))
def test_any_octets_are_split_without_a_crash(octets: bytes) -> None:
    list(walk_attributes(octets))
    list(split_messages(octets))


def test_the_nesting_bit_is_no_part_of_a_type() -> None:
    assert parse_attributes(pack_attribute(3 | 0x8000, b"x")) == {3: b"x"}


def test_texts_and_numbers_are_read() -> None:
    assert read_text(parse_attributes(pack_text(1, "eth0"))[1]) == "eth0"
    assert read_number(struct.pack("=H", 0x1234)) == 0x1234
    assert read_number(struct.pack("=I", 0x12345678)) == 0x12345678
    assert read_number(b"") == 0


def test_two_messages_of_one_read_are_two() -> None:
    first = struct.pack("=IHHII", 17, 3, 0, 1, 0) + b"a" + b"\0\0\0"
    second = struct.pack("=IHHII", 16, 4, 2, 1, 0)
    assert list(split_messages(first + second)) == [(3, 0, 1, b"a"), (4, 2, 1, b"")]
    assert list(split_messages(first + second[:9])) == [(3, 0, 1, b"a")]
