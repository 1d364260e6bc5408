from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from offload.flow import Flow, Output, SetField, Term, UnknownAction, make_match
from offload.vswitch.message import (
    HEADER,
    Command,
    Kind,
    decode_flows,
    describe_error,
    encode_bundle_add,
    encode_flow_mod,
    encode_hello,
    is_last_part,
)
from offload.vswitch.oxm import encode_actions, encode_match

FLOW = Flow(5, 100, make_match([Term("in_port", 7)]), (SetField("reg0", 1), Output(2)), 0xD001_01_0000000001)


def test_every_message_says_its_version_kind_length_and_number() -> None:
    for message in (encode_hello(7), encode_flow_mod(Command.ADD, FLOW, 7)):
        version, _kind, length, xid = HEADER.unpack_from(message)
        assert (version, length, xid) == (6, len(message), 7)


def test_a_deletion_is_strict_and_carries_no_actions() -> None:
    message = encode_flow_mod(Command.DELETE_STRICT, FLOW, 1)
    assert message[8 + 17] == Command.DELETE_STRICT
    assert message.endswith(encode_match(FLOW.match))


def test_a_part_of_a_bundle_holds_the_whole_message() -> None:
    inner = encode_flow_mod(Command.ADD, FLOW, 9)
    outer = encode_bundle_add(inner, 3, 9)
    assert HEADER.unpack_from(outer)[1] == Kind.BUNDLE_ADD
    assert outer.endswith(inner)


def describe(flow: Flow, *, match: bytes | None = None) -> bytes:
    """What a switch shows of a flow (OpenFlow 1.5.1 §7.3.5.2), with an empty and a filled set of statistics."""
    actions = encode_actions(flow.actions)
    statistics = struct.pack("!HHI", 0, 8, 0x80020000)
    instructions = struct.pack("!HHxxxx", 4, 8 + len(actions)) + actions if actions else b""
    body = (encode_match(flow.match) if match is None else match) + statistics + instructions
    head = struct.pack("!HxxBxHHHHHQ", 24 + len(body), flow.table, flow.priority, 0, 0, 0, 0, flow.cookie)
    return head + body


def test_a_dump_gives_back_the_flows_with_their_cookies() -> None:
    drop = Flow(0, 0, (), (), 0x77)
    body = struct.pack("!HHxxxx", 1, 0) + describe(FLOW) + describe(drop)
    assert list(decode_flows(body)) == [FLOW, drop]
    assert is_last_part(body)
    assert not is_last_part(struct.pack("!HHxxxx", 1, 1))


def test_a_flow_with_a_field_of_others_is_never_taken_for_a_right_one_of_ours() -> None:
    strange = struct.pack("!HHIB", 1, 9, 0x80001A01, 6) + b"\0" * 7
    (flow,) = decode_flows(struct.pack("!HHxxxx", 1, 0) + describe(FLOW, match=strange))
    assert isinstance(flow.actions[0], UnknownAction)
    assert flow.cookie == FLOW.cookie


@given(st.binary(max_size=200))
def test_a_dump_of_any_octets_ends(octets: bytes) -> None:
    # What is cut short is an error of the codec's own, for which the connection's owner hangs up.
    with contextlib.suppress(struct.error):
        list(decode_flows(struct.pack("!HHxxxx", 1, 0) + octets))


def test_an_error_is_told_in_words() -> None:
    assert describe_error(struct.pack("!HH", 5, 1)) == "flow_mod failed, table full"
    assert describe_error(struct.pack("!HH", 4, 9)) == "bad match, code 9"
    assert describe_error(struct.pack("!HHI", 0xFFFF, 2600, 0)) == "experimenter error 2600"
