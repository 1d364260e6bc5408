"""The gRPC side of one pool: the five calls of the kubelet's device-plugin API, thin over `allocate`.

A `PoolServer` lives from `start` to `stop`; it may be started again, which makes a new socket. The devices it shows are
replaced as a whole by `publish`, from the loop's thread; gRPC's own threads read them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import grpc

from deviceplugin.allocate import check_usable, prefer, render_environment
from deviceplugin.config import Pool
from deviceplugin.devicefile import DeviceFiles
from deviceplugin.inventory import Device
from deviceplugin.kubelet import v1beta1_pb2 as api
from deviceplugin.kubelet import v1beta1_pb2_grpc as rpc
from sriov.errors import BusyError, DpuError, InputError, NotFoundError, UnreachableError
from sriov.log import fields

logger = logging.getLogger(__name__)

T = TypeVar("T")

OPTIONS = api.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)

# One thread for each open ListAndWatch stream: a kubelet that went away without closing its stream keeps one until
# gRPC notices, so there must be some to spare.
_THREADS = 16
_GRACE_S = 1.0
_PATH_MAX = 107  # sun_path of man 7 unix, less its final zero

_STATUS = {
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    BusyError: grpc.StatusCode.FAILED_PRECONDITION,
}


def render_device(device: Device, *, pool: Pool) -> api.Device:
    """Render a device for ListAndWatch."""
    message = api.Device(ID=device.id, health="Unhealthy" if device.unhealthy else "Healthy")
    if device.numa_node is not None and not pool.exclude_topology:
        message.topology.nodes.add(ID=device.numa_node)
    return message


class Board:
    """The devices of a pool as last published, and a way to wait for the next publication."""

    def __init__(self) -> None:
        self._devices: tuple[Device, ...] = ()
        self._edition = 0
        self._changed = threading.Condition()

    def publish(self, devices: tuple[Device, ...]) -> bool:
        """Replace the devices. Returns whether that changed anything."""
        with self._changed:
            if devices == self._devices and self._edition:
                return False
            self._devices, self._edition = devices, self._edition + 1
            self._changed.notify_all()
            return True

    def read(self) -> tuple[Device, ...]:
        """Return the devices as last published."""
        with self._changed:
            return self._devices

    def wake(self) -> None:
        """Have every waiter look whether it is still wanted."""
        with self._changed:
            self._changed.notify_all()

    def editions(self, *, is_wanted: Callable[[], bool]) -> Iterator[tuple[Device, ...]]:
        """Give the devices now, and again after each publication, for as long as `is_wanted`."""
        seen = -1
        while is_wanted():
            with self._changed:
                while self._edition == seen and is_wanted():
                    self._changed.wait()
                seen, devices = self._edition, self._devices
            if is_wanted():
                yield devices


class Servicer(rpc.DevicePluginServicer):
    """Answers the kubelet for one pool."""

    def __init__(self, pool: Pool, *, board: Board, device_files: DeviceFiles, on_stream: Callable[[], None]) -> None:
        self._pool = pool
        self._board = board
        self._device_files = device_files
        self._stopped = threading.Event()
        self._on_stream = on_stream
        self.streams: set[grpc.ServicerContext] = set()
        self.streams_opened = 0

    def stop(self) -> None:
        """End every stream."""
        self._stopped.set()
        self._board.wake()

    def GetDevicePluginOptions(self, request: api.Empty, context: grpc.ServicerContext) -> api.DevicePluginOptions:  # noqa: N802 - the API's name
        """Say which optional calls the kubelet is to make."""
        return OPTIONS

    def ListAndWatch(  # noqa: N802 - the API's name
        self, request: api.Empty, context: grpc.ServicerContext
    ) -> Iterator[api.ListAndWatchResponse]:
        """Send the whole list, and again whenever it changed."""

        def end() -> None:
            self.streams.discard(context)
            self._board.wake()
            self._on_stream()

        self.streams.add(context)
        self.streams_opened += 1
        self._on_stream()
        if not context.add_callback(end):
            end()
        for devices in self._board.editions(is_wanted=lambda: context.is_active() and not self._stopped.is_set()):
            yield api.ListAndWatchResponse(devices=[render_device(device, pool=self._pool) for device in devices])

    def GetPreferredAllocation(  # noqa: N802 - the API's name
        self, request: api.PreferredAllocationRequest, context: grpc.ServicerContext
    ) -> api.PreferredAllocationResponse:
        """Choose devices that are close together."""
        response = api.PreferredAllocationResponse()
        with _answering(context, "GetPreferredAllocation"):
            for wanted in request.container_requests:
                chosen = prefer(
                    wanted.available_deviceIDs,
                    required=wanted.must_include_deviceIDs,
                    count=wanted.allocation_size,
                    devices=self._board.read(),
                )
                response.container_responses.add(deviceIDs=chosen)
        return response

    def Allocate(self, request: api.AllocateRequest, context: grpc.ServicerContext) -> api.AllocateResponse:  # noqa: N802 - the API's name
        """Hand devices to containers; refused as a whole when one device of one container cannot be used."""
        response = api.AllocateResponse()
        with _answering(context, "Allocate"):
            given = [
                check_usable(wanted.devices_ids, self._board.read(), pool=self._pool)
                for wanted in request.container_requests
            ]
            for devices in given:
                self._device_files.write(self._pool.resource, devices)
                response.container_responses.add(envs=render_environment(devices, pool=self._pool))
                ids = ",".join(device.id for device in devices)
                logger.info("allocated", extra=fields(resource=self._pool.resource, devices=ids))
        return response

    def PreStartContainer(  # noqa: N802 - the API's name
        self, request: api.PreStartContainerRequest, context: grpc.ServicerContext
    ) -> api.PreStartContainerResponse:
        """Check once more that the devices can be used."""
        with _answering(context, "PreStartContainer"):
            check_usable(request.devices_ids, self._board.read(), pool=self._pool)
        return api.PreStartContainerResponse()


@contextmanager
def _answering(context: grpc.ServicerContext, call: str) -> Iterator[None]:
    """Turn an error into the call's status; a bug is logged with its traceback and answered as INTERNAL."""
    try:
        yield
    except DpuError as error:
        logger.warning("refused %s: %s", call, error)
        _abort(context, _STATUS.get(type(error), grpc.StatusCode.INTERNAL), str(error))
    except Exception:
        logger.exception("%s failed", call)
        _abort(context, grpc.StatusCode.INTERNAL, "a bug in dpukit-device-plugin; its log has the traceback")


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, text: str) -> NoReturn:
    context.abort(code, text)
    raise AssertionError("abort returned")


class PoolServer:
    """The socket of one pool.

    Args:
        pool: what to serve.
        folder: the kubelet's device-plugin folder.
        device_files: where Allocate writes DeviceInfo files.
        on_stream: called from another thread when a ListAndWatch stream was opened or has ended.
    """

    def __init__(
        self, pool: Pool, *, folder: Path, device_files: DeviceFiles, on_stream: Callable[[], None] = lambda: None
    ) -> None:
        self.pool = pool
        self._on_stream = on_stream
        self.path = folder / pool.socket
        self._device_files = device_files
        self._board = Board()
        self._running: tuple[grpc.Server, Servicer] | None = None

    @property
    def is_watched(self) -> bool:
        """Whether a ListAndWatch stream is open."""
        return self._running is not None and bool(self._running[1].streams)

    @property
    def streams_opened(self) -> int:
        """How many ListAndWatch streams were opened since it was started."""
        return self._running[1].streams_opened if self._running else 0

    def publish(self, devices: tuple[Device, ...]) -> bool:
        """Show these devices from now on. Returns whether that changed anything."""
        return self._board.publish(devices)

    def start(self) -> None:
        """Serve on a new socket; what is there is replaced.

        Raises:
            InputError: the path is longer than a socket's may be.
            UnreachableError: the socket cannot be made.
        """
        self.stop()
        if len(str(self.path)) > _PATH_MAX:
            raise InputError(
                str(self.path), f"is longer than the {_PATH_MAX} octets of a socket's path", hint="shorten resourceName"
            )
        server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix=self.pool.name))
        servicer = Servicer(self.pool, board=self._board, device_files=self._device_files, on_stream=self._on_stream)
        rpc.add_DevicePluginServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated code
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            self.path.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{self.path}")
        except (OSError, RuntimeError) as error:
            raise UnreachableError(str(self.path), f"cannot serve there: {error}", hint="look at the folder") from error
        server.start()
        self._running = (server, servicer)

    def stop(self) -> None:
        """End the streams and remove the socket; nothing happens when it is not running."""
        if self._running is None:
            return
        server, servicer = self._running
        self._running = None
        servicer.stop()
        server.stop(_GRACE_S).wait()
        self.path.unlink(missing_ok=True)
