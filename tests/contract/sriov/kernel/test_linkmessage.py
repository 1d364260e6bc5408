"""Our messages about links say what pyroute2 reads in them, and read what pyroute2 writes: it is the oracle here."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from sriov.kernel.linkmessage import (
    WITH_VFS,
    parse_link,
    parse_vf,
    render_altname,
    render_change,
    render_question,
    render_vf_change,
)
from sriov.link import LinkChange, LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MacAddress

HEADER = struct.Struct("=IHHII")
EXAMPLES = settings(max_examples=40)  # it takes milliseconds for each
UINT32 = st.integers(0, 2**32 - 1)
MACS = st.binary(min_size=6, max_size=6).map(MacAddress)
NAMES = st.text("abc0.-", min_size=1, max_size=15)
CHANGES = st.builds(
    LinkChange,
    name=st.none() | NAMES,
    mac=st.none() | MACS,
    mtu=st.none() | st.integers(0, 2**31 - 1),
    up=st.none() | st.booleans(),
)
STATES = (LinkState.AUTO, LinkState.ENABLE, LinkState.DISABLE)
PROTOCOLS = {VlanProtocol.CUSTOMER: 0x8100, VlanProtocol.SERVICE: 0x88A8}
TAGS = st.builds(VlanTag, st.integers(0, 4094), st.integers(0, 7), st.sampled_from(VlanProtocol))


def read(message: bytes) -> Any:  # noqa: ANN401 - pyroute2 has no types
    found = ifinfmsg(HEADER.pack(HEADER.size + len(message), 16, 0, 0, 0) + message)
    found.decode()
    return found


def write(message: Any) -> bytes:  # noqa: ANN401 - pyroute2 has no types
    message.encode()
    return bytes(message.data[HEADER.size :])


@EXAMPLES
@given(st.integers(0, 2**31 - 1), CHANGES, st.none() | st.integers(0, 1000))
def test_it_reads_our_changes(index: int, change: LinkChange, netns: int | None) -> None:
    found = read(render_change(index, change, netns=netns))
    assert (found["index"], found["change"], found["flags"]) == (
        index,
        int(change.up is not None),
        int(bool(change.up)),
    )
    assert found.get_attr("IFLA_IFNAME") == change.name
    assert found.get_attr("IFLA_ADDRESS") == (None if change.mac is None else str(change.mac))
    assert found.get_attr("IFLA_MTU") == change.mtu
    assert found.get_attr("IFLA_NET_NS_FD") == netns


@EXAMPLES
@given(st.integers(0, 2**31 - 1), NAMES)
def test_it_reads_our_questions_and_names(index: int, name: str) -> None:
    question = read(render_question(index=index, name=name, mask=WITH_VFS))
    assert (question["index"], question.get_attr("IFLA_IFNAME"), question.get_attr("IFLA_EXT_MASK")) == (index, name, 1)
    properties = read(render_altname(index, name)).get_attr("IFLA_PROP_LIST")
    assert properties.get_attrs("IFLA_ALT_IFNAME") == [name]


ATTRIBUTES = st.builds(
    VfAttributes,
    mac=MACS,
    vlan=TAGS,
    spoofchk=st.booleans(),
    trust=st.booleans(),
    link_state=st.sampled_from(STATES),
    rates=st.builds(Rates, UINT32, UINT32),
)


@EXAMPLES
@given(st.integers(0, 1015), ATTRIBUTES)
def test_it_reads_our_changes_of_vfs(vf: int, change: VfAttributes) -> None:
    assert change.vlan is not None
    assert change.rates is not None
    assert change.link_state is not None
    found = read(render_vf_change(3, vf, change))
    (entry,) = found.get_attr("IFLA_VFINFO_LIST").get_attrs("IFLA_VF_INFO")
    assert (found["index"], entry.get_attr("IFLA_VF_MAC")) == (3, {"vf": vf, "mac": str(change.mac)})
    if change.vlan.protocol is VlanProtocol.CUSTOMER:
        assert entry.get_attr("IFLA_VF_VLAN") == {"vf": vf, "vlan": change.vlan.vlan, "qos": change.vlan.qos}
    else:
        (info,) = entry.get_attr("IFLA_VF_VLAN_LIST").get_attrs("IFLA_VF_VLAN_INFO")
        assert (info["vf"], info["vlan"], info["qos"], info["proto"]) == (vf, change.vlan.vlan, change.vlan.qos, 0x88A8)
    assert entry.get_attr("IFLA_VF_SPOOFCHK") == {"vf": vf, "spoofchk": change.spoofchk}
    assert entry.get_attr("IFLA_VF_TRUST") == {"vf": vf, "trust": change.trust}
    assert entry.get_attr("IFLA_VF_LINK_STATE") == {"vf": vf, "link_state": STATES.index(change.link_state)}
    rates = {"vf": vf, "min_tx_rate": change.rates.minimum, "max_tx_rate": change.rates.maximum}
    assert entry.get_attr("IFLA_VF_RATE") == rates


@EXAMPLES
@given(NAMES, st.lists(NAMES, max_size=3), MACS, st.integers(0, 2**31 - 1), st.booleans())
def test_we_read_its_links(name: str, altnames: list[str], mac: MacAddress, mtu: int, up: bool) -> None:
    message = ifinfmsg()
    message["index"], message["flags"] = 7, int(up)
    message["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", str(mac)),
        ("IFLA_MTU", mtu),
        ("IFLA_CARRIER", 1),
        ("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", altname) for altname in altnames]}),
        ("IFLA_PARENT_DEV_NAME", "0000:03:10.0"),
    ]
    link = parse_link(write(message))
    assert (link.index, link.name, link.altnames) == (7, name, tuple(altnames))
    assert (link.mac, link.mtu, link.up, link.carrier, link.parent) == (mac, mtu, up, True, "0000:03:10.0")


@EXAMPLES
@given(st.lists(st.tuples(MACS, TAGS), min_size=1, max_size=4), UINT32, UINT32)
def test_we_read_its_vfs(vfs: list[tuple[MacAddress, VlanTag]], low: int, high: int) -> None:
    message = ifinfmsg()
    message["attrs"] = [
        ("IFLA_VFINFO_LIST", {"attrs": [_vf_info(vf, mac, tag, (low, high)) for vf, (mac, tag) in enumerate(vfs)]})
    ]
    octets = write(message)
    for vf, (mac, tag) in enumerate(vfs):
        wanted = VfAttributes(mac, tag, None, trust=True, link_state=LinkState.DISABLE, rates=Rates(low, high))
        assert parse_vf(octets, vf) == wanted
    assert parse_vf(octets, len(vfs)) is None


def _vf_info(vf: int, mac: MacAddress, tag: VlanTag, rates: tuple[int, int]) -> tuple[str, object]:
    fields = {"vf": vf, "vlan": tag.vlan, "qos": tag.qos}
    info = ("IFLA_VF_VLAN_INFO", {**fields, "proto": PROTOCOLS[tag.protocol]})
    return "IFLA_VF_INFO", {
        "attrs": [
            ("IFLA_VF_MAC", {"vf": vf, "mac": str(mac)}),
            ("IFLA_VF_VLAN", fields),
            ("IFLA_VF_VLAN_LIST", {"attrs": [info]}),
            ("IFLA_VF_RATE", {"vf": vf, "min_tx_rate": rates[0], "max_tx_rate": rates[1]}),
            # All ones: the driver has no such switch.
            ("IFLA_VF_SPOOFCHK", {"vf": vf, "spoofchk": 0xFFFFFFFF}),
            ("IFLA_VF_TRUST", {"vf": vf, "trust": 1}),
            ("IFLA_VF_LINK_STATE", {"vf": vf, "link_state": 2}),
        ]
    }
