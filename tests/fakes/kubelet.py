"""A kubelet stand-in: the device manager's half of the device-plugin API, with the kubelet's habits.

It deletes every socket in its folder when it starts, serves Registration on ``kubelet.sock``, dials the plugin's socket
and asks for its options while it answers Register, then keeps a ListAndWatch stream open whose end makes every device
unhealthy. Allocation follows the kubelet's order: GetPreferredAllocation, Allocate, PreStartContainer. It can be told to
misbehave: refuse registrations, end its streams, wipe its folder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from deviceplugin.kubelet import v1beta1_pb2 as api
from deviceplugin.kubelet import v1beta1_pb2_grpc as rpc

CHECKPOINT = "kubelet_internal_checkpoint"
DIAL_TIMEOUT_S = 10.0
WAIT_S = 10.0


@dataclass
class Resource:
    """What this kubelet knows of one resource: its endpoint, options, and the last list it was sent."""

    name: str
    endpoint: str
    options: api.DevicePluginOptions
    channel: grpc.Channel
    devices: dict[str, api.Device] = field(default_factory=dict)
    lists: list[dict[str, str]] = field(default_factory=list)
    """Every list that came, as id → health."""
    stream: Any = None
    """The open ListAndWatch call; grpc has no name for its type."""
    is_open: bool = True

    @property
    def healthy(self) -> list[str]:
        """The ids that may be given to pods; none once the stream ended."""
        return sorted(d.ID for d in self.devices.values() if d.health == "Healthy") if self.is_open else []


class Kubelet:
    """The stand-in, from `start` to `stop`; a context manager as `running_kubelet`.

    Args:
        folder: its device-plugin folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resources: dict[str, Resource] = {}
        self.registrations: list[str] = []
        self.allocated: dict[str, set[str]] = {}
        self.refusal = ""
        """When set, Register fails with this text."""
        self._changed = threading.Condition()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Clean the folder as a starting kubelet does, and serve."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wipe()
        self._server = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="kubelet"))
        rpc.add_RegistrationServicer_to_server(_Registration(self), self._server)
        self._server.add_insecure_port(f"unix:{self.folder / 'kubelet.sock'}")
        self._server.start()

    def stop(self) -> None:
        """Go away as a killed kubelet does; what was allocated is remembered (its checkpoint)."""
        if self._server:
            self._server.stop(None).wait()
            self._server = None
        for resource in list(self.resources.values()):
            resource.channel.close()
        with self._changed:
            self.resources.clear()
            self._changed.notify_all()

    def restart(self) -> None:
        """Stop, and start anew."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Delete everything in the folder but its checkpoint and sub-folders."""
        for path in self.folder.iterdir():
            if not path.is_dir() and path.name != CHECKPOINT:
                path.unlink(missing_ok=True)

    def end_streams(self) -> None:
        """Cancel every ListAndWatch, as after an error of its client."""
        for resource in self.resources.values():
            resource.stream.cancel()

    def wait_for(self, what: Callable[[], bool], *, seconds: float = WAIT_S) -> None:
        """Wait until `what` holds; looked at after each message and every tenth of a second."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not what():
                lists = {name: resource.lists for name, resource in self.resources.items()}
                assert time.monotonic() < deadline, f"not within {seconds} s; lists: {lists}"
                self._changed.wait(0.1)

    def wait_for_healthy(self, name: str, ids: Sequence[str]) -> None:
        """Wait until exactly these devices of the resource are healthy."""
        wanted = sorted(ids)
        self.wait_for(lambda: name in self.resources and self.resources[name].healthy == wanted)

    def allocate(self, name: str, count: int) -> tuple[list[str], api.ContainerAllocateResponse]:
        """Give a container `count` devices of the resource, as admission and the container's start do."""
        resource = self.resources[name]
        free = [device for device in resource.healthy if device not in self.allocated.get(name, set())]
        assert len(free) >= count, f"UnexpectedAdmissionError: {count} of {name} wanted, {len(free)} free"
        stub = rpc.DevicePluginStub(resource.channel)
        chosen = free[:count]
        if resource.options.get_preferred_allocation_available:
            asked = api.PreferredAllocationRequest()
            asked.container_requests.add(available_deviceIDs=free, allocation_size=count)
            answer = stub.GetPreferredAllocation(asked, timeout=DIAL_TIMEOUT_S)
            chosen = list(answer.container_responses[0].deviceIDs)
        response = self.allocate_ids(name, chosen)
        self.allocated.setdefault(name, set()).update(chosen)
        if resource.options.pre_start_required:
            stub.PreStartContainer(api.PreStartContainerRequest(devices_ids=chosen), timeout=30)
        return chosen, response

    def allocate_ids(self, name: str, ids: Sequence[str]) -> api.ContainerAllocateResponse:
        """Call Allocate for one container with these ids, whatever this kubelet thinks of them."""
        request = api.AllocateRequest()
        request.container_requests.add(devices_ids=ids)
        stub = rpc.DevicePluginStub(self.resources[name].channel)
        answer: api.AllocateResponse = stub.Allocate(request, timeout=DIAL_TIMEOUT_S)
        return answer.container_responses[0]

    def free(self, name: str, ids: Sequence[str]) -> None:
        """Take devices back from a pod that has ended; no plugin is told of it."""
        self.allocated.get(name, set()).difference_update(ids)

    def register(self, request: api.RegisterRequest) -> None:
        """Dial the plugin and watch it; called inside Register."""
        # As in the kubelet, a new connection owes nothing to an earlier one to the same path.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(f"unix:{self.folder / request.endpoint}", options=options)
        stub = rpc.DevicePluginStub(channel)
        wanted = stub.GetDevicePluginOptions(api.Empty(), timeout=DIAL_TIMEOUT_S, wait_for_ready=True)
        resource = Resource(request.resource_name, request.endpoint, wanted, channel)
        resource.stream = stub.ListAndWatch(api.Empty())
        with self._changed:
            self.resources[request.resource_name] = resource
            self.registrations.append(request.resource_name)
            self._changed.notify_all()
        threading.Thread(target=self._watch, args=(resource,), name="list-and-watch", daemon=True).start()

    def _watch(self, resource: Resource) -> None:
        try:
            for message in resource.stream:
                with self._changed:
                    resource.devices = {device.ID: device for device in message.devices}
                    resource.lists.append({device.ID: device.health for device in message.devices})
                    self._changed.notify_all()
        except (grpc.RpcError, ValueError):
            pass  # ended, or its channel was closed
        with self._changed:
            resource.is_open = False
            self._changed.notify_all()


class _Registration(rpc.RegistrationServicer):
    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    def Register(self, request: api.RegisterRequest, context: grpc.ServicerContext) -> api.Empty:  # noqa: N802
        if self._kubelet.refusal:
            context.abort(grpc.StatusCode.UNAVAILABLE, self._kubelet.refusal)
        if request.version != "v1beta1":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"version {request.version} is not v1beta1")
        self._kubelet.register(request)
        return api.Empty()


@contextmanager
def running_kubelet(folder: Path) -> Iterator[Kubelet]:
    """Run a stand-in for as long as the context lasts."""
    kubelet = Kubelet(folder)
    kubelet.start()
    try:
        yield kubelet
    finally:
        kubelet.stop()


def read_environment(response: api.ContainerAllocateResponse) -> Mapping[str, str]:
    """Return the environment a container would be given."""
    return dict(response.envs)
