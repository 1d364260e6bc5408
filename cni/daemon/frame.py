"""Read the message in which a client hands over its call (its form: `cni.client`). Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cni.client import MAGIC, UNREADABLE

HEADER_SIZE = len(MAGIC) + 8
ENVIRONMENT_MAX = 4 << 20
STDIN_MAX = 4 << 20


class ForeignError(Exception):
    """A message that this version cannot take on: the client does what it says by itself."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What one message says."""

    environment: Mapping[str, str]
    stdin: bytes | None
    """None when the client could not read it."""


def parse_frame(received: bytes | bytearray) -> Frame | None:
    """Read a message as far as it has come; None when more is to come. What follows its end is not looked at.

    Raises:
        ForeignError: it is of another version, or longer than anything a runtime sends.
    """
    if not received.startswith(MAGIC[: len(received)]):
        raise ForeignError
    if len(received) < HEADER_SIZE:
        return None
    environment_size, told = (int.from_bytes(received[at : at + 4], "big") for at in (len(MAGIC), len(MAGIC) + 4))
    stdin_size = 0 if told == UNREADABLE else told
    if environment_size > ENVIRONMENT_MAX or stdin_size > STDIN_MAX:
        raise ForeignError
    middle = HEADER_SIZE + environment_size
    if len(received) < middle + stdin_size:
        return None
    stdin = None if told == UNREADABLE else bytes(received[middle : middle + stdin_size])
    return Frame(_parse_environment(bytes(received[HEADER_SIZE:middle])), stdin)


def render_answer(text: bytes, status: int) -> bytes:
    """Render an answer: what goes to standard output, and the exit status."""
    return bytes([status]) + len(text).to_bytes(4, "big") + text


def _parse_environment(text: bytes) -> Mapping[str, str]:
    pairs = (os.fsdecode(pair).partition("=") for pair in text.split(b"\0") if pair)
    return {key: value for key, _, value in pairs}
