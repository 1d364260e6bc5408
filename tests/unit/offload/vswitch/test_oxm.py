from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.flow import FIELDS, IN_PORT, Action, Move, Output, Resubmit, SetField, Term, UnknownAction, make_match
from offload.vswitch.oxm import UnknownFieldError, decode_actions, decode_match, encode_actions, encode_match

FIELD_VALUES = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.tuples(st.just(name), st.integers(0, (1 << FIELDS[name].bits) - 1))
)
MATCHES = st.dictionaries(
    st.sampled_from(sorted(FIELDS)),
    st.tuples(st.integers(0, (1 << 128) - 1), st.none() | st.integers(1, (1 << 128) - 1)),
).map(
    lambda chosen: make_match(
        Term(name, value & (1 << FIELDS[name].bits) - 1, mask) for name, (value, mask) in chosen.items()
    )
)
WIDTHS: dict[int, list[str]] = {}
for _name, _field in FIELDS.items():
    WIDTHS.setdefault(_field.bits, []).append(_name)
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    FIELD_VALUES.map(lambda pair: SetField(*pair)),
    st.integers(0, 0xFFFFFFFF).map(Output),
    st.integers(0, 254).map(Resubmit),
    st.sampled_from(sorted(WIDTHS)).flatmap(
        lambda bits: st.builds(Move, st.sampled_from(WIDTHS[bits]), st.sampled_from(WIDTHS[bits]))
    ),
)


@given(MATCHES)
def test_a_match_comes_back_as_it_was(match: tuple[Term, ...]) -> None:
    octets = encode_match(match)
    assert len(octets) % 8 == 0
    assert decode_match(octets + b"what follows") == (match, len(octets))


@given(st.lists(ACTIONS, max_size=6))
def test_actions_come_back_as_they_were(actions: list[Action]) -> None:
    octets = encode_actions(tuple(actions))
    assert len(octets) % 8 == 0
    assert decode_actions(octets) == tuple(actions)


@given(st.binary(max_size=64))
def test_actions_of_any_octets_are_read_without_a_crash(octets: bytes) -> None:
    decode_actions(octets)


def test_a_match_is_laid_out_as_the_specification_says() -> None:
    match = make_match([Term("ip_dst", 0x0A010100, 0xFFFFFF00), Term("in_port", 1), Term("eth_type", 0x800)])
    assert encode_match(match).hex() == (
        "0001 001e80000004 0000000180000a02 080080001908 0a010100 ffffff000000"
    ).replace(" ", "")


def test_the_paired_register_of_the_switch_is_reg0_and_the_other_half_is_unknown() -> None:
    assert decode_match(bytes.fromhex("0001001880010110" + "00000001" + "00000000" + "ffffffff" + "00000000"))[0] == (
        Term("reg0", 1),
    )
    with pytest.raises(UnknownFieldError):
        decode_match(bytes.fromhex("0001001880010110" + "00000001" + "00000001" + "ffffffff" + "ffffffff"))


def test_an_action_of_others_is_kept_as_unknown() -> None:
    group = bytes.fromhex("0016000800000001")
    assert decode_actions(group + encode_actions((Output(IN_PORT),))) == (UnknownAction(group), Output(IN_PORT))
