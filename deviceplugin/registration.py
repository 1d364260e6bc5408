"""Keep one pool known to the kubelet: serve, register, and again whenever the kubelet was restarted.

The kubelet deletes every socket in its folder when it starts, then makes its own anew; it dials ours while it answers
Register, so ours must be served before. `keep` looks at what is there and does what is missing; it never waits: the
call to Register goes on in the background and wakes the loop when it ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from deviceplugin.kubelet import v1beta1_pb2 as api
from deviceplugin.kubelet import v1beta1_pb2_grpc as rpc
from deviceplugin.server import OPTIONS, PoolServer
from sriov.errors import UnreachableError
from sriov.log import fields

logger = logging.getLogger(__name__)

KUBELET_SOCKET = "kubelet.sock"
VERSION = "v1beta1"
CALL_TIMEOUT_S = 15.0
"""The kubelet itself gives up dialling us after 10 s."""

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 30.0
FIRST_STREAM_S, LOST_STREAM_S = 5.0, 1.0
"""How long the kubelet may take to open ListAndWatch once it knows the pool, and to open it again after it ended."""

SocketId = tuple[int, int, int]


def identify_socket(path: Path) -> SocketId | None:
    """Tell the socket at `path` from any that was there before it; None when there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    # An inode number is used again at once on tmpfs; the time tells the two apart.
    return found.st_dev, found.st_ino, found.st_mtime_ns


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of Register that is under way, and the kubelet it was made to."""

    future: grpc.Future[api.Empty]
    channel: grpc.Channel
    kubelet: SocketId


class Registration:
    """One pool's standing with the kubelet.

    Args:
        server: the pool's server; this starts and restarts it.
        folder: the kubelet's device-plugin folder.
        wake: called from another thread when a call has ended.
    """

    def __init__(self, server: PoolServer, *, folder: Path, wake: Callable[[], None]) -> None:
        self._server = server
        self._kubelet_path = folder / KUBELET_SOCKET
        self._wake = wake
        self._served: SocketId | None = None
        self._known_to: SocketId | None = None
        self._call: _Call | None = None
        self._retry_at = 0.0
        self._retry_after = RETRY_FIRST_S
        self._watch_again_by = 0.0
        self._streams_seen = 0

    @property
    def is_done(self) -> bool:
        """Whether the kubelet that is there knows the pool."""
        return self._known_to is not None

    def keep(self, now: float) -> float:
        """Do what is missing. Returns when to look again at the latest, on the same clock as `now`, in seconds.

        Raises:
            DpuError: the pool's socket cannot be served.
        """
        if self._served is None or identify_socket(self._server.path) != self._served:
            self._serve()
        self._collect(now)
        kubelet = identify_socket(self._kubelet_path)
        if kubelet != self._known_to:
            self._known_to = None
        is_new = self._server.streams_opened != self._streams_seen
        if self._known_to is not None and (self._server.is_watched or is_new):
            # One that was opened and has ended since the last look counts as lost, not as yet to come.
            self._streams_seen = self._server.streams_opened
            self._watch_again_by = now + LOST_STREAM_S
        if self._known_to is not None and now >= self._watch_again_by:
            logger.warning("the kubelet watches no more, registering again", extra=fields(pool=self._server.pool.name))
            self._known_to = None
        if kubelet is not None and self._known_to is None and self._call is None and now >= self._retry_at:
            self._register(kubelet)
        return self._look_again_at(now)

    def _look_again_at(self, now: float) -> float:
        if self._known_to is None:
            return now + CALL_TIMEOUT_S if self._call else max(self._retry_at, now + RETRY_FIRST_S)
        return now + RETRY_MOST_S if self._server.is_watched else self._watch_again_by

    def stop(self) -> None:
        """End what is under way, and serve no more."""
        self._abandon_call()
        self._server.stop()
        self._served = self._known_to = None

    def _abandon_call(self) -> None:
        if self._call:
            self._call.future.cancel()
            self._call.channel.close()
            self._call = None

    def _serve(self) -> None:
        # The answer to a call that is under way would be about the socket before this one.
        self._abandon_call()
        self._known_to = None
        self._server.start()
        self._served = identify_socket(self._server.path)
        logger.info("serving", extra=fields(resource=self._server.pool.resource, socket=self._server.path))

    def _register(self, kubelet: SocketId) -> None:
        # Else gRPC shares the connection, and the wait after one that failed, with every channel to this path.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(f"unix:{self._kubelet_path}", options=options)
        request = api.RegisterRequest(
            version=VERSION, endpoint=self._server.path.name, resource_name=self._server.pool.resource, options=OPTIONS
        )
        stub = rpc.RegistrationStub(channel)  # type: ignore[no-untyped-call]  # generated code
        future = stub.Register.future(request, timeout=CALL_TIMEOUT_S)
        self._call = _Call(future, channel, kubelet)
        self._streams_seen = self._server.streams_opened
        future.add_done_callback(lambda _: self._wake())

    def _collect(self, now: float) -> None:
        """Take the answer of a call that has ended."""
        if self._call is None or not self._call.future.done():
            return
        call, self._call = self._call, None
        call.channel.close()
        resource = self._server.pool.resource
        refusal = _read_refusal(call.future)
        if refusal is None:
            self._known_to, self._retry_after = call.kubelet, RETRY_FIRST_S
            self._watch_again_by = now + FIRST_STREAM_S
            logger.info("registered", extra=fields(resource=resource))
            return
        self._retry_at, self._retry_after = now + self._retry_after, min(self._retry_after * 2, RETRY_MOST_S)
        logger.warning("%s", refusal, extra=fields(resource=resource, retry_s=round(self._retry_at - now, 1)))


def _read_refusal(future: grpc.Future[api.Empty]) -> UnreachableError | None:
    try:
        future.result()
    except (grpc.RpcError, grpc.FutureCancelledError) as error:
        said = error.details() if isinstance(error, grpc.Call) else str(error)
        return UnreachableError("kubelet", f"did not take the registration: {said}", hint="dpukit tries again")
    return None
