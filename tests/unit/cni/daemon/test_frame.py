"""The message of one call: any octets are a call, a part of one, or none of ours."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.client import MAGIC, UNREADABLE
from cni.daemon.frame import ENVIRONMENT_MAX, STDIN_MAX, ForeignError, Frame, parse_frame, render_answer


def render(environment: bytes, stdin: bytes | None) -> bytes:
    length = UNREADABLE if stdin is None else len(stdin)
    return MAGIC + len(environment).to_bytes(4, "big") + length.to_bytes(4, "big") + environment + (stdin or b"")


WORDS = st.binary(max_size=20).filter(lambda text: b"\0" not in text)
NAMES = WORDS.filter(lambda text: text and b"=" not in text)


@given(st.dictionaries(NAMES, WORDS, max_size=4), st.none() | st.binary(max_size=60))
def test_a_whole_message_is_read_as_it_was_written(environment: dict[bytes, bytes], stdin: bytes | None) -> None:
    frame = parse_frame(render(b"\0".join(key + b"=" + value for key, value in environment.items()), stdin))
    assert frame == Frame({os.fsdecode(key): os.fsdecode(value) for key, value in environment.items()}, stdin)


@given(st.binary(max_size=30).filter(lambda text: b"\0" not in text), st.binary(max_size=30), st.data())
def test_a_part_of_a_message_waits_for_the_rest(environment: bytes, stdin: bytes, data: st.DataObject) -> None:
    message = render(environment, stdin)
    length = data.draw(st.integers(0, len(message) - 1))
    assert parse_frame(message[:length]) is None


@given(st.binary(max_size=200))
def test_any_octets_are_a_call_or_a_part_of_one_or_foreign(octets: bytes) -> None:
    for text in (octets, MAGIC + octets):
        try:
            frame = parse_frame(text)
        except ForeignError:
            continue
        assert frame is None or isinstance(frame, Frame)


@pytest.mark.parametrize("text", [b"dpukit0\n", b"dpukit2\n" + bytes(8), b"GET / HTTP/1.1\r\n\r\n", b"\0"])
def test_another_versions_message_is_foreign_as_soon_as_it_differs(text: bytes) -> None:
    with pytest.raises(ForeignError):
        parse_frame(text)


@pytest.mark.parametrize(("environment", "stdin"), [(ENVIRONMENT_MAX + 1, 0), (0, STDIN_MAX + 1), (UNREADABLE, 0)])
def test_a_message_that_announces_too_much_is_foreign_before_it_comes(environment: int, stdin: int) -> None:
    with pytest.raises(ForeignError):
        parse_frame(MAGIC + environment.to_bytes(4, "big") + stdin.to_bytes(4, "big"))


def test_an_answer_says_its_status_and_its_length() -> None:
    assert render_answer(b"ab", 7) == b"\x07\0\0\0\x02ab"
