"""Messages about links and VFs: what is asked for is what is read back; strange messages are no reason to fall over."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from sriov.kernel.linkmessage import (
    parse_link,
    parse_vf,
    render_altname,
    render_change,
    render_question,
    render_vf_change,
)
from sriov.kernel.netlink import parse_attributes
from sriov.link import LinkChange, LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MacAddress

HEADER_SIZE = 16
UINT32 = st.integers(0, 2**32 - 1)
MACS = st.binary(min_size=6, max_size=6).map(MacAddress)
TAGS = st.builds(VlanTag, st.integers(0, 4094), st.integers(0, 7), st.sampled_from(VlanProtocol))
ATTRIBUTES = st.builds(
    VfAttributes,
    mac=MACS,
    vlan=st.none() | TAGS,
    spoofchk=st.none() | st.booleans(),
    trust=st.none() | st.booleans(),
    link_state=st.none() | st.sampled_from(LinkState),
    rates=st.none() | st.builds(Rates, UINT32, UINT32),
)


@given(st.integers(0, 2**31 - 1), st.integers(0, 1015), ATTRIBUTES)
def test_vf_attributes_come_back_as_they_went(pf: int, vf: int, attributes: VfAttributes) -> None:
    message = render_vf_change(pf, vf, attributes)
    assert parse_vf(message, vf) == attributes
    assert parse_vf(message, vf + 1) is None


NAMES = st.text("abc0", min_size=1, max_size=15)
CHANGES = st.builds(LinkChange, name=NAMES, mac=MACS, mtu=st.integers(68, 65535), up=st.booleans())


@given(st.integers(1, 2**31 - 1), CHANGES)
def test_a_change_says_what_the_link_will_be(index: int, change: LinkChange) -> None:
    link = parse_link(render_change(index, change))
    assert (link.index, LinkChange(link.name, link.mac, link.mtu, up=link.up)) == (index, change)


def test_a_change_of_nothing_says_nothing() -> None:
    message = render_change(5, LinkChange())
    assert (len(message), struct.unpack_from("=II", message, 8)) == (HEADER_SIZE, (0, 0))


def test_a_move_names_the_descriptor_of_the_namespace() -> None:
    assert parse_attributes(render_change(5, LinkChange(), netns=9)[HEADER_SIZE:]) == {28: struct.pack("=I", 9)}


def test_a_long_name_is_asked_for_as_an_alternative_one() -> None:
    short, long = "x" * 15, "x" * 16
    assert parse_attributes(render_question(name=short)[HEADER_SIZE:])[3] == b"x" * 15 + b"\0"
    assert parse_attributes(render_question(name=long)[HEADER_SIZE:])[53] == b"x" * 16 + b"\0"


def test_an_alternative_name_is_read_back() -> None:
    assert parse_link(render_altname(5, "enp3s0f0")).altnames == ("enp3s0f0",)


@given(st.binary(min_size=HEADER_SIZE, max_size=300), st.integers(0, 3))
def test_any_octets_make_some_link(message: bytes, vf: int) -> None:
    parse_link(message)
    parse_vf(message, vf)


@given(st.binary(max_size=100))
def test_any_octets_in_a_list_of_vfs_are_read_or_left_out(octets: bytes) -> None:
    whole = render_vf_change(
        1, 0, VfAttributes(mac=MacAddress(bytes(6)), vlan=VlanTag(5), rates=Rates(1, 2), trust=True)
    )
    for cut in range(HEADER_SIZE, len(whole)):
        parse_vf(whole[:cut] + octets, 0)
