from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from offload.flower import make_probe, parse_rule
from sriov.kernel.netlink import pack_attribute, pack_text, parse_attributes

UFID = "b5e9f0c2-3f0e-4f55-8f3e-1a2b3c4d5e6f"
COOKIE = struct.pack("=IIII", 0xB5E9F0C2, 0x3F0E4F55, 0x8F3E1A2B, 0x3C4D5E6F)


def make_action(kind: str, *, cookie: bytes = COOKIE, parameters: int = 2) -> bytes:
    body = struct.pack("=IIiii", 77, 0, 3, 1, 1)
    options = pack_attribute(1, b"times") + pack_attribute(parameters, body)
    return (
        pack_text(1, kind)
        + pack_attribute(2 | 0x8000, options)
        + pack_attribute(4, b"statistics")
        + (pack_attribute(6, cookie) if cookie else b"")
        + pack_attribute(10, struct.pack("=I", 1))
    )


def make_options(*actions: bytes, flags: int = 4) -> bytes:
    nest = b"".join(pack_attribute(order, action) for order, action in enumerate(actions, 1))
    return (
        pack_attribute(8, struct.pack("!H", 0x800))
        + pack_attribute(3 | 0x8000, nest)
        + pack_attribute(22, struct.pack("=I", flags))
        + pack_attribute(86, struct.pack("=I", 1))
    )


def make_payload(options: bytes, *, kind: str = "flower", handle: int = 1, chain: int = 3) -> bytes:
    header = struct.pack("=BxxxiIII", 0, 9, handle, 0xFFFFFFF2, 4 << 16 | 0x0008)
    return header + pack_text(1, kind) + pack_attribute(11, struct.pack("=I", chain)) + pack_attribute(2, options)


def test_a_rule_tells_its_chain_its_flow_and_what_hardware_said() -> None:
    rule = parse_rule(make_payload(make_options(make_action("mirred"))))
    assert rule is not None
    assert (rule.ifindex, rule.chain, rule.priority, rule.handle) == (9, 3, 4, 1)
    assert rule.ufid == UFID
    assert (rule.in_hw, rule.not_in_hw, rule.in_hw_count) == (True, False, 1)


def test_a_refused_rule_says_so() -> None:
    rule = parse_rule(make_payload(make_options(make_action("mirred"), flags=8)))
    assert rule is not None
    assert (rule.in_hw, rule.not_in_hw) == (False, True)


def test_the_flow_is_found_on_whichever_action_bears_it_and_may_be_nobodys() -> None:
    late = parse_rule(make_payload(make_options(make_action("pedit", cookie=b""), make_action("mirred"))))
    none = parse_rule(make_payload(make_options(make_action("mirred", cookie=b""))))
    assert late is not None
    assert late.ufid == UFID
    assert none is not None
    assert none.ufid == ""


def test_what_is_no_flower_rule_is_none() -> None:
    assert parse_rule(make_payload(make_options(), kind="matchall")) is None
    assert parse_rule(make_payload(make_options(), handle=0)) is None


@given(st.binary(max_size=120))
def test_any_octets_behind_a_header_are_read_without_a_crash(octets: bytes) -> None:
    parse_rule(struct.pack("=BxxxiIII", 0, 9, 1, 0, 0) + octets)
    parse_rule(make_payload(octets))


def actions_of(options: bytes) -> list[dict[int, bytes]]:
    return [parse_attributes(action) for action in parse_attributes(parse_attributes(options)[3]).values()]


def test_a_probe_has_its_own_flags_and_shares_nothing_with_the_rule() -> None:
    for kind, parameters in (("mirred", 2), ("ct", 1), ("csum", 1), ("tunnel_key", 2), ("pedit", 4)):
        probe = make_probe(make_options(make_action(kind, parameters=parameters)), flags=2)
        attributes = parse_attributes(probe)
        assert attributes[22] == struct.pack("=I", 2)
        assert 86 not in attributes
        assert attributes[8] == struct.pack("!H", 0x800)
        (action,) = actions_of(probe)
        assert set(action) == {1, 2}
        assert parse_attributes(action[2])[parameters] == struct.pack("=IIiii", 0, 0, 3, 1, 1)
