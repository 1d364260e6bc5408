"""rtnetlink's messages about links and the attributes a PF keeps of its VFs, to and from values. Pure.

Formats: include/uapi/linux/rtnetlink.h and if_link.h (Linux 6.12). A message here is what follows the netlink header: a
fixed part, then attributes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from sriov.kernel.netlink import (
    pack_attribute,
    pack_nested,
    pack_number,
    pack_text,
    parse_attributes,
    read_number,
    read_text,
    walk_attributes,
)
from sriov.link import Link, LinkChange, LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MacAddress

WITH_VFS, WITHOUT_COUNTERS = 1, 8
"""RTEXT_FILTER_VF and RTEXT_FILTER_SKIP_STATS, include/uapi/linux/rtnetlink.h."""

_HEADER = struct.Struct("=BxHiII")  # family, type, number, flags, change
_MAC, _NAME, _MTU, _VFS, _NETNS, _MASK, _CARRIER = 1, 3, 4, 22, 28, 29, 33  # IFLA_*
_PROPERTIES, _ALTNAME, _PARENT = 52, 53, 56
_NAME_LENGTH_MAX = 15  # IFNAMSIZ without the zero; longer ones can only be alternative names
_UP = 0x1  # IFF_UP, include/uapi/linux/if.h

_VF = 1  # IFLA_VF_INFO
_VF_MAC, _VF_VLAN, _VF_SPOOFCHK, _VF_STATE, _VF_RATES, _VF_TRUST, _VF_VLANS = 1, 2, 4, 5, 6, 9, 12  # IFLA_VF_*
_VLAN = 1  # IFLA_VF_VLAN_INFO
_VF_MAC_VALUE = struct.Struct("=I32s")
_VF_VLAN_VALUE = struct.Struct("=III")
_VF_VLAN_WITH_PROTOCOL = struct.Struct("=III2s")
_VF_VLAN_PADDING = bytes(2)  # the kernel's structure ends on a multiple of four
_VF_SWITCH = struct.Struct("=II")
_VF_RATES_VALUE = struct.Struct("=III")
_UNKNOWN = 0xFFFFFFFF  # what the kernel answers where a driver has no such switch (rtnl_fill_vfinfo)

_LINK_STATES = (LinkState.AUTO, LinkState.ENABLE, LinkState.DISABLE)
_PROTOCOLS = {b"\x81\x00": VlanProtocol.CUSTOMER, b"\x88\xa8": VlanProtocol.SERVICE}
_PROTOCOL_NUMBERS = {protocol: number for number, protocol in _PROTOCOLS.items()}


# -- questions ---------------------------------------------------------------------------------------------------------


def render_question(*, index: int = 0, name: str | None = None, mask: int = WITHOUT_COUNTERS) -> bytes:
    """Render the question for one link, by number or by name; for all links when neither is given."""
    message = _HEADER.pack(0, 0, index, 0, 0) + pack_number(_MASK, mask)
    if name is None:
        return message
    # The kernel looks for either among all names, but takes no long one as IFLA_IFNAME.
    return message + pack_text(_NAME if len(name.encode()) <= _NAME_LENGTH_MAX else _ALTNAME, name)


def parse_link(message: bytes) -> Link:
    """Read one link."""
    _, _, index, flags, _ = _HEADER.unpack_from(message)
    attributes = parse_attributes(message[_HEADER.size :])
    mac, parent = attributes.get(_MAC, b""), attributes.get(_PARENT)
    properties = walk_attributes(attributes.get(_PROPERTIES, b""))
    return Link(
        index=index,
        name=read_text(attributes.get(_NAME, b"")),
        altnames=tuple(read_text(value) for kind, value in properties if kind == _ALTNAME),
        # Other kinds of link (InfiniBand, tunnels) have addresses of other lengths.
        mac=MacAddress(mac) if len(mac) == 6 else None,
        mtu=read_number(attributes.get(_MTU, b"")),
        up=bool(flags & _UP),
        parent=None if parent is None else read_text(parent),
        carrier=any(attributes.get(_CARRIER, b"")),
    )


def parse_vf(message: bytes, vf: int) -> VfAttributes | None:
    """Read what a PF's link tells about its VF number `vf`; None when it does not tell."""
    attributes = parse_attributes(message[_HEADER.size :])
    for _, entry in walk_attributes(attributes.get(_VFS, b"")):
        found = parse_attributes(entry)
        if len(found.get(_VF_MAC, b"")) >= 10 and _VF_SWITCH.unpack_from(found[_VF_MAC])[0] == vf:
            return _read_vf(found)
    return None


def _read_vf(found: dict[int, bytes]) -> VfAttributes:
    spoofchk, trust, state = (_read_switch(found.get(kind)) for kind in (_VF_SPOOFCHK, _VF_TRUST, _VF_STATE))
    rates = found.get(_VF_RATES, b"")
    return VfAttributes(
        mac=MacAddress(found[_VF_MAC][4:10]),
        vlan=_read_vlan(found),
        spoofchk=None if spoofchk is None else bool(spoofchk),
        trust=None if trust is None else bool(trust),
        link_state=_LINK_STATES[state] if state is not None and state < len(_LINK_STATES) else None,
        rates=Rates(*_VF_RATES_VALUE.unpack_from(rates)[1:]) if len(rates) >= _VF_RATES_VALUE.size else None,
    )


def _read_switch(value: bytes | None) -> int | None:
    if value is None or len(value) < _VF_SWITCH.size:
        return None
    setting: int = _VF_SWITCH.unpack_from(value)[1]
    return None if setting == _UNKNOWN else setting


def _read_vlan(found: dict[int, bytes]) -> VlanTag | None:
    tag = next((value for _, value in walk_attributes(found.get(_VF_VLANS, b""))), b"")
    if len(tag) >= _VF_VLAN_WITH_PROTOCOL.size:
        _, vlan, qos, protocol = _VF_VLAN_WITH_PROTOCOL.unpack_from(tag)
        return VlanTag(vlan, qos, _PROTOCOLS.get(protocol, VlanProtocol.CUSTOMER))
    tag = found.get(_VF_VLAN, b"")
    return VlanTag(*_VF_VLAN_VALUE.unpack_from(tag)[1:]) if len(tag) >= _VF_VLAN_VALUE.size else None


# -- changes -----------------------------------------------------------------------------------------------------------


def render_change(index: int, change: LinkChange, *, netns: int | None = None) -> bytes:
    """Render a change of a link, and its move into the namespace behind the descriptor `netns` when there is one."""
    flags, mask = (0, 0) if change.up is None else (_UP if change.up else 0, _UP)
    parts = [_HEADER.pack(0, 0, index, flags, mask)]
    if netns is not None:
        parts.append(pack_number(_NETNS, netns))
    if change.name is not None:
        parts.append(pack_text(_NAME, change.name))
    if change.mac is not None:
        parts.append(pack_attribute(_MAC, change.mac.octets))
    if change.mtu is not None:
        parts.append(pack_number(_MTU, change.mtu))
    return b"".join(parts)


def render_altname(index: int, name: str) -> bytes:
    """Render an alternative name of a link, to be added or dropped."""
    return _HEADER.pack(0, 0, index, 0, 0) + pack_nested(_PROPERTIES, pack_text(_ALTNAME, name))


def render_vf_change(pf: int, vf: int, change: VfAttributes) -> bytes:
    """Render a change of what the PF with link number `pf` keeps about its VF number `vf`."""
    entry = pack_nested(_VF, *_vf_entries(vf, change))
    return _HEADER.pack(0, 0, pf, 0, 0) + pack_nested(_VFS, entry)


def _vf_entries(vf: int, change: VfAttributes) -> Iterable[bytes]:
    if change.mac is not None:
        yield pack_attribute(_VF_MAC, _VF_MAC_VALUE.pack(vf, change.mac.octets))
    if change.vlan is not None:
        yield _render_vlan(vf, change.vlan)
    if change.rates is not None:
        yield pack_attribute(_VF_RATES, _VF_RATES_VALUE.pack(vf, change.rates.minimum, change.rates.maximum))
    if change.spoofchk is not None:
        yield pack_attribute(_VF_SPOOFCHK, _VF_SWITCH.pack(vf, change.spoofchk))
    if change.link_state is not None:
        yield pack_attribute(_VF_STATE, _VF_SWITCH.pack(vf, _LINK_STATES.index(change.link_state)))
    if change.trust is not None:
        yield pack_attribute(_VF_TRUST, _VF_SWITCH.pack(vf, change.trust))


def _render_vlan(vf: int, tag: VlanTag) -> bytes:
    if tag.protocol is VlanProtocol.CUSTOMER:
        return pack_attribute(_VF_VLAN, _VF_VLAN_VALUE.pack(vf, tag.vlan, tag.qos))
    value = _VF_VLAN_WITH_PROTOCOL.pack(vf, tag.vlan, tag.qos, _PROTOCOL_NUMBERS[tag.protocol]) + _VF_VLAN_PADDING
    return pack_nested(_VF_VLANS, pack_attribute(_VLAN, value))
