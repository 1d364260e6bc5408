"""Take calls from the thin clients: one call per connection on a UNIX socket (its form: `cni.client`).

The socket is root's (mode 0600, and the caller's credentials are checked). One thread reads from everybody as things
come and never waits for anybody; what is malformed, late or half costs its sender the connection and nobody else anything.
"""

from __future__ import annotations

import array
import errno
import logging
import os
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from cni.daemon.calls import NOT_HERE, Calls, Finished, close_all
from cni.daemon.door import Door
from cni.daemon.frame import ForeignError, Frame, parse_frame, render_answer
from cni.perform import Caller
from cni.result import TRY_AGAIN_LATER, render_error
from sriov.errors import BusyError
from sriov.log import fields

logger = logging.getLogger(__name__)

READ_DEADLINE_S = 10.0
"""A client sends its call in one go."""
_PAUSE_S = 0.2
_DESCRIPTORS_MAX = 4
_READ_SIZE = 1 << 18
_CREDENTIALS = struct.Struct("=iII")
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


@dataclass(slots=True)
class _Incoming:
    """A connection over which a call is coming."""

    connection: socket.socket
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    descriptors: list[int] = field(default_factory=list)


class Server:
    """Reads calls and hands them on.

    Args:
        door: where they come.
        calls: where they go.
        stop: ends it.
        read_deadline_s: how long a call may be on its way in.
    """

    def __init__(
        self, door: Door, calls: Calls, stop: threading.Event, *, read_deadline_s: float = READ_DEADLINE_S
    ) -> None:
        self._door = door
        self._calls = calls
        self._stop = stop
        self._read_deadline_s = read_deadline_s
        self.has_lost_door = False
        """Whether the socket was taken away, and nothing was put in its place."""
        self._selector = selectors.DefaultSelector()
        self._incoming: dict[int, _Incoming] = {}
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="front")

    @property
    def is_serving(self) -> bool:
        """Whether calls are taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to take calls, and go on until `finish`; `stop` is set when the door is somebody else's before that."""
        self._thread.start()

    def finish(self) -> None:
        """Take no more calls, finish those begun; the clients of all others do it themselves. `stop` is set."""
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        self._calls.stop()
        os.close(self._bell)

    # -- the front thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._selector:
            for thing in (self._door.listener, self._door.watch, self._bell):
                self._selector.register(thing, selectors.EVENT_READ)
            while not self._stop.is_set():
                try:
                    self._turn()
                except Exception:
                    # Whoever it was about is dropped at its deadline.
                    logger.exception("the front went wrong")
                    self._stop.wait(_PAUSE_S)
            self._send_away()

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.fileobj is self._door.listener:
                self._accept_all()
            elif key.fileobj is self._door.watch:
                self._look_at_door()
            elif isinstance(key.data, _Incoming):
                self._read(key.data)
        now = time.monotonic()
        for late in [incoming for incoming in self._incoming.values() if incoming.deadline <= now]:
            self._drop(late, f"sent {len(late.received)} octets of a call in {self._read_deadline_s:g} s, and no end")

    def _patience(self) -> float | None:
        if not self._incoming:
            return None
        return max(0.0, min(incoming.deadline for incoming in self._incoming.values()) - time.monotonic())

    def _look_at_door(self) -> None:
        self._door.watch.drain()
        if not self._door.is_ours:
            self.has_lost_door = self._door.is_nobodys
            logger.warning("clients do not come here any more", extra=fields(socket=self._door.path))
            self._stop.set()

    def _accept_all(self) -> None:
        while (connection := self._accept()) is not None:
            self._take_in(connection)

    def _accept(self) -> socket.socket | None:
        while True:
            try:
                return self._door.listener.accept()[0]
            except (ConnectionAbortedError, InterruptedError):
                continue
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # The next moment may have one; turning round and round until then would eat a core.
                    logger.warning("cannot take a call", extra=fields(reason=os.strerror(error.errno or 0)))
                    self._stop.wait(_PAUSE_S)
                return None

    def _take_in(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        if not _is_trusted(connection):
            connection.close()
        elif self._calls.reserve():
            incoming = _Incoming(connection, time.monotonic() + self._read_deadline_s)
            self._incoming[connection.fileno()] = incoming
            self._selector.register(connection, selectors.EVENT_READ, incoming)
            # Most calls are here already, whole.
            self._read(incoming)
        else:
            self._refuse(connection)

    def _refuse(self, connection: socket.socket) -> None:
        limits = self._calls.limits
        error = BusyError(
            "dpukit-node",
            f"{limits.workers + limits.queue} calls are waiting or at work",
            hint="try again later; see workers and queue in its configuration",
        )
        with connection, suppress(OSError):
            connection.send(render_answer(render_error(error, version="1.1.0"), 1))
        self._calls.finished(Finished("", TRY_AGAIN_LATER, 0.0, {}, 0))

    def _read(self, incoming: _Incoming) -> None:
        try:
            frame = self._receive(incoming)
        except ForeignError:
            with suppress(OSError):
                incoming.connection.send(NOT_HERE)
            self._drop(incoming, "its call is not of this version, or too long")
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._drop(incoming, str(error))
        else:
            if frame is not None:
                self._hand_on(incoming, frame)

    def _receive(self, incoming: _Incoming) -> Frame | None:
        space = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
        part, ancillary, flags, _ = incoming.connection.recvmsg(_READ_SIZE, space, socket.MSG_CMSG_CLOEXEC)
        incoming.descriptors.extend(_parse_descriptors(ancillary))
        if len(incoming.descriptors) > 1 or flags & socket.MSG_CTRUNC:
            raise ValueError("its call came with more than one descriptor")
        if not part:
            raise ValueError(f"its call ended after {len(incoming.received)} octets")
        incoming.received += part
        return parse_frame(incoming.received)

    def _hand_on(self, incoming: _Incoming, frame: Frame) -> None:
        self._forget(incoming)
        netns = incoming.descriptors[0] if incoming.descriptors else None
        caller = Caller(frame.environment, frame.stdin, netns)
        self._calls.take(incoming.connection, caller, incoming.descriptors)

    def _drop(self, incoming: _Incoming, reason: str) -> None:
        logger.warning("a client was dropped", extra=fields(reason=reason))
        self._forget(incoming)
        close_all(incoming.connection, incoming.descriptors)
        self._calls.free()

    def _forget(self, incoming: _Incoming) -> None:
        del self._incoming[incoming.connection.fileno()]
        self._selector.unregister(incoming.connection)

    def _send_away(self) -> None:
        """At the end: whoever is at the door, or in it, does it alone."""
        self._door.shut()
        while (connection := self._accept()) is not None:
            with connection, suppress(OSError):
                connection.send(NOT_HERE)
        for incoming in list(self._incoming.values()):
            with suppress(OSError):
                incoming.connection.send(NOT_HERE)
            self._forget(incoming)
            close_all(incoming.connection, incoming.descriptors)
            self._calls.free()


def _parse_descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return found.tolist()


def _is_trusted(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    if uid in (0, os.geteuid()):
        return True
    logger.warning("a caller was turned away", extra=fields(uid=uid, pid=pid))
    return False
