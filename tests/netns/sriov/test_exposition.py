"""Figures and health over HTTP, on a socket of the test's own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from sriov.endpoint import TcpEndpoint, UnixEndpoint
from sriov.errors import KernelError
from sriov.exposition import Pages, expose, make_registry

pytestmark = pytest.mark.netns

PATIENCE_S = 20


@contextmanager
def exposed(path: Path, *, reason: str = "") -> Iterator[Path]:
    registry = CollectorRegistry()
    Counter("tried", "How often.", registry=registry).inc(3)
    with expose(UnixEndpoint(str(path)), Pages(registry, lambda: "", lambda: reason)):
        yield path


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(path))
    return connection


def ask(path: Path, request: str) -> str:
    with connect(path) as connection:
        connection.sendall(f"{request} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer.decode()


def test_each_page_answers_for_itself(tmp_path: Path) -> None:
    with exposed(tmp_path / "m.sock", reason="still starting") as path:
        metrics = ask(path, "GET /metrics?name=x")
        assert metrics.startswith("HTTP/1.0 200 ")
        assert "\r\nContent-Type: text/plain; version=" in metrics
        assert "\ntried_total 3.0\n" in metrics
        assert ask(path, "GET /healthz").endswith("\r\n\r\nok\n")
        ready = ask(path, "GET /readyz")
        assert (ready.split()[1], ready.endswith("\r\n\r\nstill starting\n")) == ("503", True)
        assert ask(path, "GET /etc/passwd").split()[1] == "404"
        assert ask(path, "HEAD /healthz").endswith("\r\n\r\n")
        assert ask(path, "POST /metrics").split()[1] == "501"


def test_those_who_ask_nothing_and_those_who_leave_hold_up_nobody(tmp_path: Path) -> None:
    with exposed(tmp_path / "m.sock") as path, ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(path)).sendall(b"GET /met")
        with connect(path) as hasty:
            hasty.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert ask(path, "GET /healthz").endswith("ok\n")


def test_many_at_once_are_bounded_and_the_next_is_served(tmp_path: Path) -> None:
    with exposed(tmp_path / "m.sock") as path:
        with ExitStack() as stack:
            idle = [stack.enter_context(connect(path)) for _ in range(20)]
            assert sum(_is_closed(connection) for connection in idle[16:]) == 4
        deadline = time.monotonic() + PATIENCE_S
        while not _is_answered(path):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _is_closed(connection: socket.socket) -> bool:
    return connection.recv(1) == b""


def _is_answered(path: Path) -> bool:
    try:
        return ask(path, "GET /healthz").endswith("ok\n")
    except (BrokenPipeError, ConnectionResetError):
        return False


def test_a_dead_predecessors_socket_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with exposed(path):
        assert ask(path, "GET /healthz").endswith("ok\n")
    path.unlink()
    path.write_text("somebody's")
    pages = Pages(CollectorRegistry(), lambda: "", lambda: "")
    with expose(UnixEndpoint(str(path)), pages):
        assert path.read_text() == "somebody's"


def test_a_port_that_is_taken_is_waited_for_and_an_end_comes_before_it(tmp_path: Path) -> None:
    pages = Pages(CollectorRegistry(), lambda: "", lambda: "")
    with socket.create_server(("127.0.0.1", 0)) as other, expose(TcpEndpoint(*other.getsockname()), pages):
        pass


def test_a_place_where_nobody_can_listen_is_told() -> None:
    pages = Pages(CollectorRegistry(), lambda: "", lambda: "")
    refusal = pytest.raises(KernelError, match="unix:/dev/null/x: kernel refused to answer HTTP there")
    with refusal, expose(UnixEndpoint("/dev/null/x"), pages):
        pass


def test_every_daemons_registry_says_what_runs_and_how_much_it_takes() -> None:
    registry = make_registry("dpukit-test")
    names = {metric.name for metric in registry.collect()}
    assert {"dpukit_build", "process_resident_memory_bytes", "process_cpu_seconds", "python_info"} <= names
