"""Speak netlink with the kernel: requests, dumps, attributes, generic families, and the kernel's own words on refusal.

A small codec of our own: it costs no import time and reads a rule in microseconds. Layout: include/uapi/linux/netlink.h and genetlink.h (Linux 6.12). A socket
belongs to the network namespace of the thread that opened it, and lives as long as its `with` block.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sriov.errors import KernelError

ROUTE = 0
GENERIC = 16

REQUEST, ACK, DUMP = 0x001, 0x004, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400

_DUMP_INTERRUPTED = 0x010
_ERROR, _DONE = 2, 3
_ACK_HAS_TEXT, _ACK_IS_CAPPED = 0x200, 0x100
_ACK_TEXT = 1
_EXTENDED_ACK, _STRICT_CHECK = 11, 12
_SOL_NETLINK = 270
_TIMEOUT_S = 5
_DUMP_TRIES = 5
_RECEIVE_SIZE = 1 << 18

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=HHI")
_TIMEVAL = struct.Struct("@ll")
_TYPE_MASK = 0x3FFF
NESTED = 0x8000


class Message(NamedTuple):
    """One message of the kernel: its type, and what follows the netlink header."""

    kind: int
    payload: bytes


class _InterruptedDumpError(Exception):
    """The table changed while the kernel dumped it; the dump must be taken again."""


class NetlinkSocket:
    """One open netlink socket, for one thread.

    Args:
        connection: the socket.
        subject: the thing asked about, for errors.
    """

    def __init__(self, connection: socket.socket, *, subject: str) -> None:
        self._connection = connection
        self._subject = subject
        self._sequence = 0
        self.warning = ""
        """What the kernel said beside its last acknowledgement, though it did as it was told; mostly nothing."""

    def request(self, kind: int, payload: bytes, *, operation: str, flags: int = 0) -> tuple[Message, ...]:
        """Send one request and wait until the kernel has acknowledged it. Returns what it answered before that.

        Raises:
            KernelError: the kernel refused; `said` holds its extended acknowledgement.
        """
        self._send(kind, payload, flags=REQUEST | ACK | flags, operation=operation)
        return tuple(self._replies(operation))

    def ask(self, kind: int, payload: bytes, *, operation: str) -> Message:
        """Send a question that has one message for an answer, and return that; it is not acknowledged besides.

        Raises:
            KernelError: the kernel refused.
        """
        self._send(kind, payload, flags=REQUEST, operation=operation)
        answer = next(self._replies(operation), None)
        if answer is None:
            raise KernelError(self._subject, operation, errno.ENODATA)
        return answer

    def dump(self, kind: int, payload: bytes, *, operation: str) -> tuple[Message, ...]:
        """Ask for a whole table; taken again when the table changed under way.

        Raises:
            KernelError: the kernel refused, or the table never held still.
        """
        for _ in range(_DUMP_TRIES):
            self._send(kind, payload, flags=REQUEST | DUMP, operation=operation)
            try:
                return tuple(self._replies(operation))
            except _InterruptedDumpError:
                continue
        raise KernelError(self._subject, operation, errno.EINTR, hint="the table keeps changing: try again")

    def _send(self, kind: int, payload: bytes, *, flags: int, operation: str) -> None:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(payload), kind, flags, self._sequence, 0)
        try:
            self._connection.send(header + payload)
        except OSError as error:
            raise KernelError.from_oserror(error, subject=self._subject, operation=operation) from error

    def _replies(self, operation: str) -> Iterator[Message]:
        interrupted = False
        while True:
            for kind, flags, sequence, payload in self._receive(operation):
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & _DUMP_INTERRUPTED)
                if kind in (_ERROR, _DONE):
                    said = _text_of_refusal(payload, flags) if kind == _ERROR else ""
                    self._check(payload, said, operation)
                    if interrupted:
                        raise _InterruptedDumpError
                    return
                yield Message(kind, payload)

    def _receive(self, operation: str) -> Iterator[tuple[int, int, int, bytes]]:
        try:
            buffer = self._connection.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            # So ends a receive timeout of the socket itself.
            raise KernelError(self._subject, operation, errno.ETIMEDOUT, hint="the kernel is busy: try again") from None
        except OSError as error:
            raise KernelError.from_oserror(error, subject=self._subject, operation=operation) from error
        return split_messages(buffer)

    def _check(self, payload: bytes, said: str, operation: str) -> None:
        number = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
        if number:
            raise KernelError(self._subject, operation, number, said=said)
        self.warning = said


def split_messages(buffer: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split what one read returned into (type, flags, sequence, payload). Pure; stops where the lengths lie."""
    offset = 0
    while offset + _HEADER.size <= len(buffer):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(buffer, offset)
        if length < _HEADER.size or offset + length > len(buffer):
            return
        yield kind, flags, sequence, buffer[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _text_of_refusal(payload: bytes, flags: int) -> str:
    if not flags & _ACK_HAS_TEXT or len(payload) < 4 + _HEADER.size:
        return ""
    # The acknowledgement repeats the request: its header only, or all of it.
    length = _HEADER.size if flags & _ACK_IS_CAPPED else _HEADER.unpack_from(payload, 4)[0]
    text = parse_attributes(payload[4 + ((length + 3) & ~3) :]).get(_ACK_TEXT, b"")
    return read_text(text)


@contextmanager
def open_netlink(protocol: int, *, subject: str, timeout_s: float = _TIMEOUT_S) -> Iterator[NetlinkSocket]:
    """Open a socket of `protocol` in this thread's network namespace; `timeout_s` bounds the wait for each answer.

    Raises:
        KernelError: the kernel has no such protocol, or gives no socket.
    """
    try:
        connection = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise KernelError.from_oserror(error, subject=subject, operation="open a netlink socket") from error
    with connection:
        connection.setsockopt(_SOL_NETLINK, _EXTENDED_ACK, 1)
        connection.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _RECEIVE_SIZE)
        # The kernel's own timeout: Python's would ask before each message whether there is one.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(*_split_seconds(timeout_s)))
        connection.bind((0, 0))
        yield NetlinkSocket(connection, subject=subject)


def _split_seconds(seconds: float) -> tuple[int, int]:
    # Nothing at all would mean: wait for ever.
    microseconds = max(1, round(seconds * 1_000_000))
    return divmod(microseconds, 1_000_000)


def pack_attribute(kind: int, value: bytes) -> bytes:
    """Render one attribute, padded to four octets."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def pack_text(kind: int, value: str) -> bytes:
    """Render one attribute that holds a text."""
    return pack_attribute(kind, os.fsencode(value) + b"\0")


def pack_number(kind: int, value: int) -> bytes:
    """Render one attribute that holds a number of 32 bits, in the machine's own order."""
    return _NUMBER.pack(8, kind, value)


def pack_nested(kind: int, *attributes: bytes) -> bytes:
    """Render one attribute that holds others."""
    return pack_attribute(kind | NESTED, b"".join(attributes))


def parse_attributes(buffer: bytes) -> dict[int, bytes]:
    """Split a run of attributes; of several with one type the last stays."""
    return dict(walk_attributes(buffer))


def walk_attributes(buffer: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (type, value) of each attribute in turn; stops where the lengths lie."""
    offset = 0
    while offset + 4 <= len(buffer):
        length, kind = _ATTRIBUTE.unpack_from(buffer, offset)
        if length < 4 or offset + length > len(buffer):
            return
        yield kind & _TYPE_MASK, buffer[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def read_text(value: bytes) -> str:
    """Read an attribute's text."""
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")


def read_number(value: bytes) -> int:
    """Read an attribute's number of any width, in the machine's own order."""
    return int.from_bytes(value, "little" if struct.pack("=H", 1)[0] else "big")


# -- generic netlink ---------------------------------------------------------------------------------------------------

_CONTROL, _CONTROL_READ_FAMILY = 0x10, 3
_FAMILY_ID, _FAMILY_NAME = 1, 2


def generic(command: int, payload: bytes = b"", *, version: int = 1) -> bytes:
    """Render the generic header and what follows it."""
    return struct.pack("=BBH", command, version, 0) + payload


def find_family(netlink: NetlinkSocket, name: str) -> int | None:
    """Return the number of the generic family `name`; None when this kernel has none.

    Raises:
        KernelError: the kernel refused for another reason.
    """
    payload = generic(_CONTROL_READ_FAMILY, pack_text(_FAMILY_NAME, name))
    try:
        messages = netlink.request(_CONTROL, payload, operation=f"look up the netlink family {name}")
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    attributes = parse_attributes(messages[0].payload[4:])
    return read_number(attributes[_FAMILY_ID])
