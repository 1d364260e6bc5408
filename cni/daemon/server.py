"""Answer the thin clients: a UNIX socket, a pool of threads, one call per connection (its form: `cni.client`).

The socket is root's (mode 0600, and the caller's credentials are checked). What is malformed costs its sender the
connection and nobody else anything. An ADD whose caller is gone by the time it stands is undone: no DEL may come any more.
"""

from __future__ import annotations

import array
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cni.client import MAGIC, NOT_PERFORMED, UNREADABLE
from cni.perform import Answer, Caller, answer_bug
from cni.result import render_error
from sriov.errors import BusyError, InputError, KernelError
from sriov.log import fields

logger = logging.getLogger(__name__)

_READ_TIMEOUT_S = 10
_ENVIRONMENT_MAX = 4 << 20
_STDIN_MAX = 16 << 20
_DESCRIPTORS_MAX = 4
_HEADER_SIZE = len(MAGIC) + 8
_CREDENTIALS = struct.Struct("=iII")


@contextmanager
def listen(path: Path) -> Iterator[socket.socket]:
    """Give the daemon's socket, at `path`, in place of whatever was there; taken away at the end if still ours.

    Raises:
        KernelError: it cannot be made.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            listener.bind(str(fresh))
            fresh.chmod(0o600)
            listener.listen(1024)
            inode = fresh.stat().st_ino
            # Renamed when it is ready: a client meets the old daemon or the new one, never none.
            fresh.replace(path)
        except OSError as error:
            raise KernelError.from_oserror(error, subject=str(path), operation="make the socket") from error
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()


class Server:
    """Performs the calls that come.

    Args:
        perform: performs one call.
        workers: how many at the same time.
        queue: how many may wait besides.
    """

    def __init__(self, perform: Callable[[Caller], Answer], *, workers: int, queue: int) -> None:
        self._perform = perform
        self._limit = workers + queue
        self._pending = 0
        self._count = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="call")

    def serve(self, listener: socket.socket, stop: threading.Event) -> None:
        """Take calls until `stop` is set, then finish those taken."""
        accepting = threading.Thread(target=self._accept, args=(listener,), name="accept")
        accepting.start()
        stop.wait()
        # Wakes accept; who is in the backlog is told by the closing that nobody took the call.
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        self._pool.shutdown(wait=True)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if not _is_passing(error):
                    return
                continue
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        connection.settimeout(_READ_TIMEOUT_S)
        if not _is_trusted(connection):
            connection.close()
            return
        with self._count:
            full = self._pending >= self._limit
            self._pending += not full
        if not full:
            self._pool.submit(self._answer, connection)
            return
        error = BusyError("dpukit-node", f"{self._limit} calls are waiting or at work", hint="try again later")
        with connection:
            _send(connection, Answer(render_error(error, version="1.1.0"), 1))

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._answer_call(connection)
        except (InputError, OSError) as error:
            logger.warning("a connection was dropped", extra=fields(reason=error))
        finally:
            with self._count:
                self._pending -= 1

    def _answer_call(self, connection: socket.socket) -> None:
        with _receive(connection) as caller:
            if caller is None:
                _send(connection, Answer(b"", NOT_PERFORMED))
                return
            if _is_gone(connection):
                return
            answer = self._perform_call(caller)
            if caller.environment.get("CNI_COMMAND") == "ADD" and answer.status == 0 and _is_gone(connection):
                logger.warning("the caller of an ADD is gone; undoing it")
                self._perform_call(replace(caller, environment={**caller.environment, "CNI_COMMAND": "DEL"}))
                return
        _send(connection, answer)

    def _perform_call(self, caller: Caller) -> Answer:
        try:
            return self._perform(caller)
        except Exception as error:
            logger.exception("a call went wrong")
            return answer_bug(caller, error)


def _is_passing(error: OSError) -> bool:
    # Out of descriptors or memory, or a client that left the queue: the next accept may succeed.
    return isinstance(error, ConnectionAbortedError | InterruptedError) or error.errno in (23, 24, 12)


def _is_trusted(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    if uid in (0, os.geteuid()):
        return True
    logger.warning("a caller was turned away", extra=fields(uid=uid, pid=pid))
    return False


def _is_gone(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(_READ_TIMEOUT_S)


def _send(connection: socket.socket, answer: Answer) -> None:
    # The caller may be gone: then nobody wants the answer.
    with suppress(OSError):
        connection.sendall(bytes([answer.status]) + len(answer.text).to_bytes(4, "big") + answer.text)


@contextmanager
def _receive(connection: socket.socket) -> Iterator[Caller | None]:
    """Give the call that comes on `connection`; None when it speaks another version. Closes its descriptor at the end.

    Raises:
        InputError: it is malformed.
        OSError: the connection failed.
    """
    descriptors: list[int] = []
    try:
        start = _receive_start(connection, descriptors)
        if start is None:
            yield None
            return
        sizes = [int.from_bytes(start[at : at + 4], "big") for at in (len(MAGIC), len(MAGIC) + 4)]
        environment_size, stdin_size = sizes[0], 0 if sizes[1] == UNREADABLE else sizes[1]
        if environment_size > _ENVIRONMENT_MAX or stdin_size > _STDIN_MAX:
            raise InputError("call", f"of {environment_size} and {stdin_size} octets is too long")
        rest = _receive_rest(connection, start[_HEADER_SIZE:], environment_size + stdin_size)
        yield Caller(
            environment=_parse_environment(rest[:environment_size]),
            stdin=None if sizes[1] == UNREADABLE else rest[environment_size:],
            netns=descriptors[0] if descriptors else None,
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _receive_start(connection: socket.socket, descriptors: list[int]) -> bytes | None:
    """Return at least the header; None when it is another version's. Descriptors that come are added to the list."""
    space = socket.CMSG_SPACE(_DESCRIPTORS_MAX * 4)
    start, ancillary, _, _ = connection.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found = array.array("i")
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
            descriptors.extend(found)
    if len(descriptors) > 1:
        raise InputError("call", f"came with {len(descriptors)} descriptors")
    if start.startswith(MAGIC[: len(start)]):
        start = _receive_rest(connection, start, _HEADER_SIZE)
    return start if start.startswith(MAGIC) else None


def _receive_rest(connection: socket.socket, received: bytes, size: int) -> bytes:
    parts, length = [received], len(received)
    while length < size:
        part = connection.recv(65536)
        if not part:
            raise InputError("call", f"ended after {length} of {size} octets")
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _parse_environment(text: bytes) -> Mapping[str, str]:
    pairs = (os.fsdecode(pair).partition("=") for pair in text.split(b"\0") if pair)
    return {key: value for key, _, value in pairs}
