from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from offload.feature import parse_active_features
from sriov.kernel.netlink import pack_attribute, pack_text


def make_answer(*names: str) -> bytes:
    bits = b"".join(pack_attribute(1 | 0x8000, pack_attribute(1, b"\0\0\0\0") + pack_text(2, name)) for name in names)
    active = pack_attribute(1, b"") + pack_attribute(3 | 0x8000, bits)
    return pack_attribute(1 | 0x8000, b"") + pack_attribute(4 | 0x8000, active)


def test_the_features_that_are_on_are_read_by_name() -> None:
    assert parse_active_features(make_answer("rx-gro", "hw-tc-offload")) == {"rx-gro", "hw-tc-offload"}
    assert parse_active_features(make_answer()) == frozenset()


@given(st.binary(max_size=80))
def test_any_octets_are_read_without_a_crash(octets: bytes) -> None:
    parse_active_features(octets)
