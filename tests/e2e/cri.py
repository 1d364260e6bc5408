"""A small client of the container runtime interface (CRI): the few calls a kubelet makes about pod sandboxes.

Field numbers are those of k8s.io/cri-api, ``pkg/apis/runtime/v1/api.proto``; fields that no test needs are left out, which
protobuf allows. The messages are built here, so that nothing has to be generated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "runtime.v1"
CALL_TIMEOUT_S = 120
POD_PID_NAMESPACE = 1
"""CONTAINER of the enumeration NamespaceMode: each container has its own."""

# One line per message: its fields as name=number:type. "map" is map<string,string>, a star means repeated.
_MESSAGES = """
NamespaceOption network=1:int32 pid=2:int32 ipc=3:int32
LinuxSandboxSecurityContext namespace_options=1:NamespaceOption
LinuxPodSandboxConfig cgroup_parent=1:string security_context=2:LinuxSandboxSecurityContext
PodSandboxMetadata name=1:string uid=2:string namespace=3:string attempt=4:uint32
PodSandboxConfig metadata=1:PodSandboxMetadata hostname=2:string log_directory=3:string labels=6:map annotations=7:map linux=8:LinuxPodSandboxConfig
RunPodSandboxRequest config=1:PodSandboxConfig
RunPodSandboxResponse pod_sandbox_id=1:string
StopPodSandboxRequest pod_sandbox_id=1:string
StopPodSandboxResponse
RemovePodSandboxRequest pod_sandbox_id=1:string
RemovePodSandboxResponse
PodSandboxNetworkStatus ip=1:string
PodSandboxStatus id=1:string metadata=2:PodSandboxMetadata state=3:int32 network=5:PodSandboxNetworkStatus
PodSandboxStatusRequest pod_sandbox_id=1:string verbose=2:bool
PodSandboxStatusResponse status=1:PodSandboxStatus info=2:map
PodSandbox id=1:string metadata=2:PodSandboxMetadata state=3:int32
ListPodSandboxRequest
ListPodSandboxResponse items=1:PodSandbox*
RuntimeCondition type=1:string status=2:bool reason=3:string message=4:string
RuntimeStatus conditions=1:RuntimeCondition*
StatusRequest verbose=1:bool
StatusResponse status=1:RuntimeStatus
ImageSpec image=1:string
Image id=1:string
ImageStatusRequest image=1:ImageSpec
ImageStatusResponse image=1:Image
"""
_SERVICES = {"ImageStatus": "ImageService"}
_SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
}


@dataclass(frozen=True, slots=True)
class PodStatus:
    """What the runtime tells about one sandbox."""

    is_ready: bool
    ip: str
    pid: int
    """Of the process that keeps the sandbox; 0 when it is gone."""
    info: Mapping[str, Any]


class Cri:
    """The calls, over one channel.

    Args:
        channel: to the runtime's socket.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._pool = _build_pool()

    def run_pod(self, config: Mapping[str, Any]) -> str:
        """Make a sandbox; return its id. Raises grpc.RpcError, as all of these do."""
        return str(self._call("RunPodSandbox", config=config).pod_sandbox_id)

    def start_pod(self, config: Mapping[str, Any]) -> Callable[[], bool]:
        """Begin to make a sandbox; calling what is returned gives up, as a client's deadline does."""
        method, request = self._method("RunPodSandbox"), self._message("RunPodSandboxRequest")
        call: grpc.Future[Any] = method.future(request(config=config), timeout=CALL_TIMEOUT_S)
        return call.cancel

    def stop_pod(self, sandbox: str) -> None:
        """End a sandbox' processes and take its network down."""
        self._call("StopPodSandbox", pod_sandbox_id=sandbox)

    def remove_pod(self, sandbox: str) -> None:
        """Forget a sandbox."""
        self._call("RemovePodSandbox", pod_sandbox_id=sandbox)

    def read_pod(self, sandbox: str) -> PodStatus:
        """Look at a sandbox."""
        answer = self._call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
        info = json.loads(answer.info["info"])
        return PodStatus(answer.status.state == 0, answer.status.network.ip, int(info.get("pid", 0)), info)

    def list_pods(self) -> dict[str, str]:
        """Return the names of all sandboxes by their ids."""
        return {pod.id: pod.metadata.name for pod in self._call("ListPodSandbox").items}

    def is_network_ready(self) -> bool:
        """Tell whether the runtime has a network configuration."""
        conditions = self._call("Status").status.conditions
        return any(condition.type == "NetworkReady" and condition.status for condition in conditions)

    def has_image(self, name: str) -> bool:
        """Tell whether the runtime knows an image."""
        return bool(self._call("ImageStatus", image={"image": name}).image.id)

    def _call(self, name: str, **fields: object) -> Any:  # noqa: ANN401 (protobuf's messages have no static type here)
        request = self._message(f"{name}Request")(**fields)
        return self._method(name)(request, timeout=CALL_TIMEOUT_S, wait_for_ready=True)

    def _method(self, name: str) -> Any:  # noqa: ANN401 (as above)
        return self._channel.unary_unary(
            f"/{PACKAGE}.{_SERVICES.get(name, 'RuntimeService')}/{name}",
            request_serializer=self._message(f"{name}Request").SerializeToString,
            response_deserializer=self._message(f"{name}Response").FromString,
        )

    def _message(self, name: str) -> Any:  # noqa: ANN401 (as above)
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


@contextmanager
def connect(socket: Path) -> Iterator[Cri]:
    """Give a client of the runtime at `socket`; it connects at the first call, and again when the runtime is new."""
    options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(f"unix://{socket}", options=options) as channel:
        yield Cri(channel)


def _build_pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=PACKAGE, syntax="proto3")
    for line in _MESSAGES.strip().splitlines():
        name, *fields = line.split()
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, field)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(":")
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind.endswith("*") or kind == "map" else field.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = field.TYPE_MESSAGE
    if kind != "map":
        field.type_name = f".{PACKAGE}.{kind.rstrip('*')}"
        return
    # A map is a repeated message of key and value, by this name.
    entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
    entry.options.map_entry = True
    for position, part in enumerate(("key", "value"), 1):
        entry.field.add(name=part, number=position, type=_SCALARS["string"], label=field.LABEL_OPTIONAL)
    field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
