"""What comes in at the door, whoever sends it: calls are answered, and nothing else does any harm."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cni.client import MAGIC, UNREADABLE
from cni.daemon.calls import NOT_HERE, Calls, Limits
from cni.daemon.door import open_door
from cni.daemon.server import Server
from cni.pace import Pace
from cni.perform import Answer, Caller

pytestmark = pytest.mark.netns

PATIENCE_S = 20
GOOD = MAGIC + (11).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"CNI_X=y\0A=b" + b"{}"


def echo(caller: Caller, *, pace: Pace) -> Answer:
    """Tell what came."""
    del pace
    netns = "none" if caller.netns is None else str(os.fstat(caller.netns).st_ino)
    return Answer(f"{dict(caller.environment)} {caller.stdin!r} {netns}".encode(), 0)


@contextmanager
def serving(folder: Path, *, places: int = 64, read_deadline_s: float = 60) -> Iterator[Path]:
    """Run a server; gives its socket."""
    path, stop = folder / "node.sock", threading.Event()
    with open_door(path) as door:
        calls = Calls(echo, limits=Limits(1, places - 1, 60), finished=lambda _: None)
        server = Server(door, calls, stop, read_deadline_s=read_deadline_s)
        server.start()
        try:
            yield path
        finally:
            stop.set()
            server.finish()


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with serving(tmp_path) as found:
        yield found


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(path))
    return connection


def read(connection: socket.socket) -> bytes:
    """Read until the server has closed."""
    answer = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            answer += part
    return answer


def ask(path: Path, octets: bytes) -> bytes:
    with connect(path) as connection:
        # One who is turned away at the door cannot send any more.
        with suppress(BrokenPipeError):
            connection.sendall(octets)
        return read(connection)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_call_is_answered_whole_and_in_pieces(path: Path) -> None:
    said = ask(path, GOOD)
    assert said[5:] == b"{'CNI_X': 'y', 'A': 'b'} b'{}' none"
    with connect(path) as connection:
        for octet in GOOD:
            connection.sendall(bytes([octet]))
        assert read(connection) == said


def test_a_call_far_larger_than_a_read_is_put_together(path: Path) -> None:
    stdin = b"x" * (3 << 20)
    call = MAGIC + bytes(4) + len(stdin).to_bytes(4, "big") + stdin
    assert ask(path, call)[5:] == b"{} " + repr(stdin).encode() + b" none"


def test_the_pods_namespace_comes_as_a_descriptor(path: Path) -> None:
    with connect(path) as connection, Path("/proc/self/ns/net").open("rb") as netns:
        socket.send_fds(connection, [GOOD[:5]], [netns.fileno()])
        connection.sendall(GOOD[5:])
        assert read(connection).endswith(str(os.fstat(netns.fileno()).st_ino).encode())


@given(st.binary(max_size=64), st.booleans())
@example(b"\xff" * 8, True)
@example(b"\0\0\0\x05\0\0\0\0ab", True)
@example(UNREADABLE.to_bytes(4, "big") * 2, True)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_octets_are_answered_or_dropped_and_the_next_call_is_served(path: Path, octets: bytes, ours: bool) -> None:
    with connect(path) as connection:
        connection.sendall(MAGIC + octets if ours else octets)
        connection.shutdown(socket.SHUT_WR)
        said = read(connection)
    assert said in (b"", NOT_HERE) or said[5:].startswith(b"{")
    assert ask(path, GOOD)[5:].startswith(b"{'CNI_X'")


def test_those_who_dawdle_hold_up_nobody_and_are_dropped_in_time(tmp_path: Path) -> None:
    with serving(tmp_path, read_deadline_s=1) as path, ExitStack() as stack:
        slow = []
        for _ in range(40):
            slow.append(stack.enter_context(connect(path)))
            slow[-1].sendall(MAGIC[:3])
        assert ask(path, GOOD)[5:].startswith(b"{'CNI_X'")
        assert [read(connection) for connection in slow] == [b""] * 40


def test_one_who_sends_an_octet_now_and_then_is_dropped_all_the_same(tmp_path: Path) -> None:
    with serving(tmp_path, read_deadline_s=0.5) as path, connect(path) as connection:
        connection.sendall(MAGIC + (1 << 20).to_bytes(4, "big") + bytes(4))
        give_up = time.monotonic() + PATIENCE_S
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < give_up:
                connection.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() < give_up


def test_those_who_come_when_all_places_are_taken_are_told_so(tmp_path: Path) -> None:
    with serving(tmp_path, places=2) as path, connect(path) as one, connect(path) as two:
        for connection in (one, two):
            connection.sendall(MAGIC)
        said = ask(path, GOOD)
        assert (said[0], json.loads(said[5:])["code"]) == (1, 11)
        one.close()
        wait_until(lambda: ask(path, GOOD)[0] == 0)


def test_superfluous_descriptors_are_refused_and_none_stays_open(path: Path) -> None:
    ask(path, GOOD)
    before = len(os.listdir("/proc/self/fd"))
    for count in (2, 4, 5, 100):
        with connect(path) as connection, Path("/dev/null").open("rb") as file:
            rights = array.array("i", [file.fileno()] * count)
            connection.sendmsg([GOOD], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            assert read(connection) == b""
    with connect(path) as connection, Path("/dev/null").open("rb") as file:
        for _ in range(2):
            socket.send_fds(connection, [GOOD[:5]], [file.fileno()])
        assert read(connection) == b""
    wait_until(lambda: len(os.listdir("/proc/self/fd")) == before)


def test_another_version_is_told_to_do_it_itself(path: Path) -> None:
    for octets in (b"dpukit0\n", GOOD.replace(b"1", b"2", 1), MAGIC + b"\xff" * 7 + b"\0"):
        assert ask(path, octets) == NOT_HERE


AS_NOBODY = """
import os, socket, sys
os.chdir(sys.argv[1])  # whoever could come in here as root
os.setgroups([]), os.setgid(65534), os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
try:
    connection.connect("node.sock")
    connection.sendall(sys.stdin.buffer.read())
    print(connection.recv(100))
except OSError as error:
    print(type(error).__name__)
"""


def test_only_root_and_our_own_user_are_answered_even_by_a_socket_that_lets_all_in(path: Path) -> None:
    def call() -> str:
        return subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(path.parent)], input=GOOD, capture_output=True, check=True
        ).stdout.decode().strip()  # fmt: skip

    path.parent.chmod(0o755)
    assert call() == "PermissionError"
    path.chmod(0o666)
    assert call() in ("b''", "BrokenPipeError", "ConnectionResetError")
    assert ask(path, GOOD)[0] == 0


def test_a_server_that_runs_out_of_descriptors_serves_on_when_there_are_some_again(path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = connect(path)
    assert ask(path, GOOD)[0] == 0
    lowest = os.dup(0)
    os.close(lowest)
    with client:
        late = socket.socket(socket.AF_UNIX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
        try:
            late.settimeout(PATIENCE_S)
            late.connect(str(path))
            late.sendall(GOOD)
            time.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with late:
            assert read(late)[0] == 0
