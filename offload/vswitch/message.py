"""The wire form of OpenFlow 1.5 messages: hello, flow_mod, bundles, the dump of flows, errors. Pure.

Source: OpenFlow Switch Specification 1.5.1, §7.1 (header), §7.3.4.2 (flow_mod), §7.3.5.2 (flow descriptions), §7.3.9
(bundles), §7.5.4 (errors).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from offload.flow import Action, Flow, UnknownAction
from offload.vswitch.oxm import UnknownFieldError, decode_actions, decode_match, encode_actions, encode_match

VERSION = 6
HEADER = struct.Struct("!BBHI")


class Kind(IntEnum):
    """The message types used here."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    FLOW_MOD = 14
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BUNDLE_CONTROL = 33
    BUNDLE_ADD = 34


class BundleControl(IntEnum):
    """What is asked of a bundle; the switch's answer is one more."""

    OPEN_REQUEST = 0
    CLOSE_REQUEST = 2
    COMMIT_REQUEST = 4
    DISCARD_REQUEST = 6


class Command(IntEnum):
    """What a flow_mod does. ADD replaces a flow with the same table, priority and match."""

    ADD = 0
    DELETE_STRICT = 4


_ATOMIC_AND_ORDERED = 3
_ANY = 0xFFFFFFFF
_ALL_TABLES = 0xFF
_FLOWS = 1
_MORE = 1
_APPLY_ACTIONS = 4

# Names of error types and of the codes a flow_mod can earn (§7.5.4), for people.
_ERROR_TYPES = {
    0: "hello failed",
    1: "bad request",
    2: "bad action",
    3: "bad instruction",
    4: "bad match",
    5: "flow_mod failed",
    17: "bundle failed",
}
_FLOW_MOD_CODES = {
    1: "table full",
    2: "bad table",
    3: "overlap",
    4: "permission error",
    6: "bad command",
    7: "bad flags",
}


def encode(kind: Kind, xid: int, body: bytes = b"") -> bytes:
    """Render a message."""
    return HEADER.pack(VERSION, kind, HEADER.size + len(body), xid) + body


def encode_hello(xid: int) -> bytes:
    """Render a hello that offers version 1.5 only."""
    return encode(Kind.HELLO, xid, struct.pack("!HHI", 1, 8, 1 << VERSION))


def encode_flow_mod(command: Command, flow: Flow, xid: int) -> bytes:
    """Render the change of one flow."""
    body = struct.pack(
        "!QQBBHHHIIIHH", flow.cookie, 0, flow.table, command, 0, 0, flow.priority, _ANY, _ANY, _ANY, 0, 0
    )
    body += encode_match(flow.match)
    if command is Command.ADD and flow.actions:
        actions = encode_actions(flow.actions)
        body += struct.pack("!HHxxxx", _APPLY_ACTIONS, 8 + len(actions)) + actions
    return encode(Kind.FLOW_MOD, xid, body)


def encode_bundle_control(control: BundleControl, bundle: int, xid: int) -> bytes:
    """Render a request about an atomic, ordered bundle as a whole."""
    return encode(Kind.BUNDLE_CONTROL, xid, struct.pack("!IHH", bundle, control, _ATOMIC_AND_ORDERED))


def encode_bundle_add(message: bytes, bundle: int, xid: int) -> bytes:
    """Render `message` as a part of a bundle; its own transaction number must be `xid` too."""
    return encode(Kind.BUNDLE_ADD, xid, struct.pack("!IxxH", bundle, _ATOMIC_AND_ORDERED) + message)


def encode_flow_request(xid: int) -> bytes:
    """Render the request for every flow of every table."""
    body = struct.pack("!BxxxIIxxxxQQ", _ALL_TABLES, _ANY, _ANY, 0, 0) + encode_match(())
    return encode(Kind.MULTIPART_REQUEST, xid, struct.pack("!HHxxxx", _FLOWS, 0) + body)


def is_last_part(body: bytes) -> bool:
    """Tell whether a multipart reply is the last of its answer."""
    return not struct.unpack_from("!HH", body)[1] & _MORE


def decode_flows(body: bytes) -> Iterator[Flow]:
    """Read the flows of one multipart reply.

    A flow with a field that no rule of ours has is given an empty match and an `UnknownAction`, so that it is never
    taken for one of ours that is right.
    """
    offset = 8
    while offset + 24 <= len(body):
        length = struct.unpack_from("!H", body, offset)[0]
        if length < 24:
            return
        yield _decode_flow(body[offset : offset + length])
        offset += length


def _decode_flow(octets: bytes) -> Flow:
    _length, table, priority, cookie = struct.unpack_from("!HxxBxHxxxxxxxxQ", octets)
    try:
        match, taken = decode_match(octets[24:])
    except UnknownFieldError:
        return Flow(table, priority, (), (UnknownAction(octets[24:]),), cookie)
    offset = 24 + taken
    # The statistics (OXS, §7.2.4.2): reserved, length, fields; padded like a match.
    offset += (struct.unpack_from("!H", octets, offset + 2)[0] + 7) & ~7
    actions: tuple[Action, ...] = ()
    while offset + 8 <= len(octets):
        kind, length = struct.unpack_from("!HH", octets, offset)
        if length < 8:
            break
        part = octets[offset + 8 : offset + length]
        actions += (
            decode_actions(part) if kind == _APPLY_ACTIONS else (UnknownAction(octets[offset : offset + length]),)
        )
        offset += length
    return Flow(table, priority, match, actions, cookie)


def describe_error(body: bytes) -> str:
    """Say what an error message means."""
    kind, code = struct.unpack_from("!HH", body)
    if kind == 0xFFFF:
        return f"experimenter error {code}"
    name = _ERROR_TYPES.get(kind, f"error type {kind}")
    detail = _FLOW_MOD_CODES.get(code, f"code {code}") if kind == 5 else f"code {code}"
    return f"{name}, {detail}"
