"""The wire form of fields, matches and actions: OpenFlow 1.5 with Open vSwitch's extensions. Pure.

Sources: OpenFlow Switch Specification 1.5.1 §7.2.3 (flow match), §7.2.6 (actions); Open vSwitch 3.5,
include/openvswitch/meta-flow.h (field numbers), lib/ofp-actions.c (the Nicira actions).
"""

from __future__ import annotations

import struct

from offload.flow import FIELDS, Action, Match, Move, Output, Resubmit, SetField, Term, UnknownAction, make_match

_OPENFLOW, _NICIRA, _PAIRED_REGISTERS = 0x8000, 0x0001, 0x8001

# (class, field)
_NUMBERS = {
    "in_port": (_OPENFLOW, 0),
    "eth_dst": (_OPENFLOW, 3),
    "eth_src": (_OPENFLOW, 4),
    "eth_type": (_OPENFLOW, 5),
    "ip_src": (_OPENFLOW, 11),
    "ip_dst": (_OPENFLOW, 12),
    "arp_op": (_OPENFLOW, 21),
    "arp_spa": (_OPENFLOW, 22),
    "arp_tpa": (_OPENFLOW, 23),
    "arp_sha": (_OPENFLOW, 24),
    "arp_tha": (_OPENFLOW, 25),
    "ipv6_src": (_OPENFLOW, 26),
    "ipv6_dst": (_OPENFLOW, 27),
    "tun_id": (_OPENFLOW, 38),
    "reg0": (_NICIRA, 0),
    "tun_src": (_NICIRA, 31),
    "tun_dst": (_NICIRA, 32),
    "tun_ipv6_src": (_NICIRA, 109),
    "tun_ipv6_dst": (_NICIRA, 110),
}
_NAMES = {number: name for name, number in _NUMBERS.items()}

# A field may only be matched together with the one that makes it meaningful, which must come first (§7.2.3.6).
_ORDER = {name: place for place, name in enumerate(_NUMBERS)}

_REG0_AND_REG1_MASKED = _PAIRED_REGISTERS << 16 | 0 << 9 | 1 << 8 | 16

_OUTPUT, _SET_FIELD, _COPY_FIELD, _EXPERIMENTER = 0, 25, 28, 0xFFFF
_NICIRA_VENDOR, _RESUBMIT_TABLE = 0x2320, 14
_RESUBMIT_IN_PORT = 0xFFF8
_MATCH_OXM = 1


class UnknownFieldError(Exception):
    """The switch shows a field that no rule of ours has."""


def _header(name: str, *, masked: bool) -> int:
    oxm_class, number = _NUMBERS[name]
    length = FIELDS[name].bits // 8 * (2 if masked else 1)
    return oxm_class << 16 | number << 9 | int(masked) << 8 | length


def _pad(octets: bytes) -> bytes:
    return octets + b"\0" * (-len(octets) % 8)


def encode_field(name: str, value: int, mask: int | None = None) -> bytes:
    """Render one field as type, length, value (and mask)."""
    width = FIELDS[name].bits // 8
    octets = struct.pack("!I", _header(name, masked=mask is not None)) + value.to_bytes(width, "big")
    return octets if mask is None else octets + mask.to_bytes(width, "big")


def encode_match(match: Match) -> bytes:
    """Render a match, padded."""
    terms = sorted(match, key=lambda term: _ORDER[term.field])
    fields = b"".join(encode_field(term.field, term.value, term.mask) for term in terms)
    return _pad(struct.pack("!HH", _MATCH_OXM, 4 + len(fields)) + fields)


def decode_match(octets: bytes) -> tuple[Match, int]:
    """Read a match from the start of `octets`. Returns it, and the octets it took with its padding.

    Raises:
        UnknownFieldError: it holds a field that no rule of ours has.
    """
    _kind, length = struct.unpack_from("!HH", octets)
    terms = []
    offset = 4
    while offset < length:
        name, value, mask, taken = _decode_field(octets[offset:length])
        terms.append(Term(name, value, mask))
        offset += taken
    return make_match(terms), (length + 7) & ~7


def _decode_field(octets: bytes) -> tuple[str, int, int | None, int]:
    (header,) = struct.unpack_from("!I", octets)
    if header == _REG0_AND_REG1_MASKED:
        return _decode_registers(octets)
    name = _NAMES.get((header >> 16, header >> 9 & 0x7F))
    length = header & 0xFF
    if name is None or len(octets) < 4 + length:
        raise UnknownFieldError(hex(header))
    value = octets[4 : 4 + length]
    if not header & 0x100:
        return name, int.from_bytes(value, "big"), None, 4 + length
    half = length // 2
    return name, int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big"), 4 + length


def _decode_registers(octets: bytes) -> tuple[str, int, int | None, int]:
    """Read reg0 out of the pair of registers as which Open vSwitch shows a match on it under OpenFlow 1.5."""
    value, other, mask, other_mask = struct.unpack_from("!IIII", octets, 4)
    if other or other_mask:
        raise UnknownFieldError("reg1")
    return "reg0", value, mask, 20


def encode_actions(actions: tuple[Action, ...]) -> bytes:
    """Render a list of actions."""
    return b"".join(_encode_action(action) for action in actions)


def _encode_action(action: Action) -> bytes:
    match action:
        case Output(port):
            return struct.pack("!HHIHxxxxxx", _OUTPUT, 16, port, 0)
        case SetField(field, value):
            return _sized(_SET_FIELD, encode_field(field, value))
        case Move(source, target):
            headers = struct.pack("!II", _header(source, masked=False), _header(target, masked=False))
            return _sized(_COPY_FIELD, struct.pack("!HHHxx", FIELDS[source].bits, 0, 0) + headers)
        case Resubmit(table):
            return struct.pack(
                "!HHIHHBxxx", _EXPERIMENTER, 16, _NICIRA_VENDOR, _RESUBMIT_TABLE, _RESUBMIT_IN_PORT, table
            )
        case UnknownAction():
            raise AssertionError(action)


def _sized(kind: int, body: bytes) -> bytes:
    octets = _pad(b"\0\0\0\0" + body)
    return struct.pack("!HH", kind, len(octets)) + octets[4:]


def decode_actions(octets: bytes) -> tuple[Action, ...]:
    """Read a list of actions; one that no rule of ours has becomes an `UnknownAction`."""
    actions = []
    offset = 0
    while offset + 4 <= len(octets):
        kind, length = struct.unpack_from("!HH", octets, offset)
        if length < 8:
            break
        actions.append(_decode_action(kind, octets[offset : offset + length]))
        offset += length
    return tuple(actions)


def _decode_action(kind: int, octets: bytes) -> Action:
    try:
        match kind:
            case 0:
                return Output(struct.unpack_from("!I", octets, 4)[0])
            case 25:
                name, value, mask, _taken = _decode_field(octets[4:])
                if mask is None:
                    return SetField(name, value)
            case 28:
                return _decode_move(octets)
            case 0xFFFF:
                vendor, subtype, in_port, table = struct.unpack_from("!IHHB", octets, 4)
                if (vendor, subtype, in_port) == (_NICIRA_VENDOR, _RESUBMIT_TABLE, _RESUBMIT_IN_PORT):
                    return Resubmit(table)
    except (UnknownFieldError, struct.error):
        pass
    return UnknownAction(octets)


def _decode_move(octets: bytes) -> Action:
    bits, source_offset, target_offset = struct.unpack_from("!HHH", octets, 4)
    source, target = (
        _NAMES.get((header >> 16, header >> 9 & 0x7F)) for header in struct.unpack_from("!II", octets, 12)
    )
    whole = source is not None and bits == FIELDS[source].bits and not source_offset and not target_offset
    return Move(source, target) if whole and source and target else UnknownAction(octets)
