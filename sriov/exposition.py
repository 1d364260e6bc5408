"""Answer HTTP for a daemon: /metrics for Prometheus, /healthz and /readyz for whoever restarts it or sends it work.

A request changes nothing, and no answer holds a secret. A port that is somebody else's is tried again until it is free: a
daemon's work matters more than its figures, and its predecessor may just be leaving.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from sriov.endpoint import Endpoint, TcpEndpoint
from sriov.errors import KernelError
from sriov.log import fields
from sriov.version import VERSION

logger = logging.getLogger(__name__)

_CLIENT_TIMEOUT_S = 10
_CLIENTS_MAX = 16
_RETRY_S = 1.0


def make_registry(program: str) -> CollectorRegistry:
    """Return a registry that tells of the process as such and, as ``dpukit_build_info``, what runs in it."""
    # A second series for each counter would tell when it began: nobody here asks.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot its type
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("dpukit_build", "What runs here.", registry=registry).info({"program": program, "version": VERSION})
    return registry


@dataclass(frozen=True, slots=True)
class Pages:
    """What is answered."""

    registry: CollectorRegistry
    """What /metrics shows."""
    alive: Callable[[], str]
    """Tells why the daemon should be restarted (/healthz); an empty text when it should not."""
    ready: Callable[[], str]
    """Tells why the daemon is not ready (/readyz); an empty text when it is."""

    def find(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body of the page at `path`."""
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.registry)
        checks = {"/healthz": self.alive, "/readyz": self.ready}
        if path not in checks:
            return _render(HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz")
        reason = checks[path]()
        return _render(HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK, reason or "ok")


def _render(status: HTTPStatus, words: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/plain; charset=utf-8", f"{words}\n".encode()


@contextmanager
def expose(endpoint: Endpoint, pages: Pages) -> Iterator[None]:
    """Answer on `endpoint` for as long as the context lasts.

    Raises:
        KernelError: there can be no such socket here (no such address, no right to this port).
    """
    ended = threading.Event()
    exposition = _Exposition(endpoint, pages, ended)
    thread = threading.Thread(target=exposition.run, name="exposition")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        exposition.close()
        thread.join()


class _Exposition:
    """A socket, and a thread that takes what comes. Opened at once; when the port is taken, as soon as it is free."""

    def __init__(self, endpoint: Endpoint, pages: Pages, ended: threading.Event) -> None:
        self._endpoint = endpoint
        self._handler = type("_Handler", (_PagesHandler,), {"pages": pages})
        self._ended = ended
        self._slots = threading.BoundedSemaphore(_CLIENTS_MAX)
        self._listener = self._try_listen()
        if self._listener is None:
            logger.warning("somebody else answers there; waiting until it is free", extra=fields(endpoint=endpoint))

    def run(self) -> None:
        """Answer until closed."""
        while self._listener is None:
            if self._ended.wait(_RETRY_S):
                return
            with suppress(KernelError):
                self._listener = self._try_listen()
        logger.info("telling figures", extra=fields(endpoint=self._endpoint))
        with self._listener:
            while not self._ended.is_set():
                try:
                    connection, _ = self._listener.accept()
                except OSError:
                    # Closed; or out of descriptors, which does not pass faster by asking again at once.
                    self._ended.wait(_RETRY_S)
                    continue
                self._take(connection)

    def close(self) -> None:
        """Wake `run` up."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)

    def _take(self, connection: socket.socket) -> None:
        if not self._slots.acquire(blocking=False):
            connection.close()
            return
        threading.Thread(target=self._answer, args=(connection,), name="figures", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            # Whoever asks and does not listen gets nothing.
            with connection, suppress(OSError):
                self._handler(connection, ("", 0), None)
        finally:
            self._slots.release()

    def _try_listen(self) -> socket.socket | None:
        try:
            return _listen(self._endpoint)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return None
            operation = "answer HTTP there"
            raise KernelError.from_oserror(error, subject=str(self._endpoint), operation=operation) from error


def _listen(endpoint: Endpoint) -> socket.socket:
    if isinstance(endpoint, TcpEndpoint):
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        return socket.create_server((endpoint.address, endpoint.port), family=family)
    path = Path(endpoint.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            # A predecessor's; it goes on answering those who are with it.
            path.unlink()
        listener.bind(str(path))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


class _PagesHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    pages: Pages
    timeout = _CLIENT_TIMEOUT_S
    server_version = "dpukit"
    sys_version = ""

    def do_GET(self) -> None:
        """Send a page."""
        self.wfile.write(self._send_head())

    def do_HEAD(self) -> None:
        """Send a page's headers."""
        self._send_head()

    def _send_head(self) -> bytes:
        status, kind, body = self.pages.find(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: every few seconds somebody asks."""
