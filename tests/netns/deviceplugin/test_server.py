"""The pool's server on a real socket, called as a kubelet calls it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from deviceplugin.config import Pool
from deviceplugin.devicefile import DeviceFiles
from deviceplugin.inventory import Device
from deviceplugin.kubelet import v1beta1_pb2 as api
from deviceplugin.kubelet import v1beta1_pb2_grpc as rpc
from deviceplugin.server import PoolServer
from sriov.errors import UnreachableError
from sriov.model import PciAddress

pytestmark = pytest.mark.netns

POOL = Pool("example.com", "vfs", (), {}, exclude_topology=False)


def make_device(vf: int, unhealthy: str = "") -> Device:
    return Device(PciAddress(0, 1, 0x10, vf), vf, PciAddress(0, 1, 0, 0), None, unhealthy)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dpk-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(folder: Path) -> Iterator[PoolServer]:
    server = PoolServer(POOL, folder=folder / "plugins", device_files=DeviceFiles(folder / "devinfo"))
    server.publish((make_device(0), make_device(1), make_device(2, "no driver is bound")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stub(server: PoolServer) -> Iterator[rpc.DevicePluginStub]:
    with grpc.insecure_channel(f"unix:{server.path}") as channel:
        yield rpc.DevicePluginStub(channel)


def refused(call: object, request: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=5)
    return error.value.code(), error.value.details()


def test_the_options_ask_for_both_optional_calls(stub: rpc.DevicePluginStub) -> None:
    options = stub.GetDevicePluginOptions(api.Empty(), timeout=5)
    assert options.pre_start_required
    assert options.get_preferred_allocation_available


def test_a_stream_has_the_list_and_each_change(server: PoolServer, stub: rpc.DevicePluginStub) -> None:
    stream = stub.ListAndWatch(api.Empty(), timeout=5)
    first = next(stream)
    assert [device.health for device in first.devices] == ["Healthy", "Healthy", "Unhealthy"]
    assert server.is_watched
    server.publish((make_device(0),))
    assert [device.ID for device in next(stream).devices] == ["0000:01:10.0"]
    server.stop()
    assert next(stream, None) is None


def test_a_preference_is_answered_or_refused(stub: rpc.DevicePluginStub) -> None:
    request = api.PreferredAllocationRequest()
    ids = ["0000:01:10.1", "0000:01:10.0"]
    request.container_requests.add(available_deviceIDs=ids, must_include_deviceIDs=ids[:1], allocation_size=2)
    (answer,) = stub.GetPreferredAllocation(request, timeout=5).container_responses
    assert list(answer.deviceIDs) == ids
    request.container_requests[0].allocation_size = 3
    assert refused(stub.GetPreferredAllocation, request)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_several_containers_are_answered_in_their_order(stub: rpc.DevicePluginStub) -> None:
    request = api.AllocateRequest()
    request.container_requests.add(devices_ids=["0000:01:10.1"])
    request.container_requests.add(devices_ids=["0000:01:10.0"])
    answers = stub.Allocate(request, timeout=5).container_responses
    assert [answer.envs["PCIDEVICE_EXAMPLE_COM_VFS"] for answer in answers] == ["0000:01:10.1", "0000:01:10.0"]


def test_one_bad_device_refuses_all_containers_and_writes_nothing(folder: Path, stub: rpc.DevicePluginStub) -> None:
    request = api.AllocateRequest()
    request.container_requests.add(devices_ids=["0000:01:10.0"])
    request.container_requests.add(devices_ids=["0000:01:10.2"])
    code, said = refused(stub.Allocate, request)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "device 0000:01:10.2: cannot be used: no driver is bound" in said
    assert not (folder / "devinfo").exists()


def test_a_device_file_that_cannot_be_written_refuses(folder: Path, stub: rpc.DevicePluginStub) -> None:
    (folder / "devinfo").write_text("")
    request = api.AllocateRequest()
    request.container_requests.add(devices_ids=["0000:01:10.0"])
    code, said = refused(stub.Allocate, request)
    assert code == grpc.StatusCode.INTERNAL
    assert "mount the folder read-write" in said


def test_a_start_is_refused_for_a_device_that_became_unusable(server: PoolServer, stub: rpc.DevicePluginStub) -> None:
    request = api.PreStartContainerRequest(devices_ids=["0000:01:10.0"])
    stub.PreStartContainer(request, timeout=5)
    server.publish((make_device(0, "the VF is gone"),))
    assert refused(stub.PreStartContainer, request) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "device 0000:01:10.0: cannot be used: the VF is gone",
    )


def test_what_lies_at_the_sockets_path_is_replaced(folder: Path, server: PoolServer) -> None:
    server.stop()
    assert not server.path.exists()
    server.path.write_text("left by a crash")
    server.start()
    assert server.path.is_socket()
    server.start()
    assert server.path.is_socket()


def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    (folder / "file").write_text("")
    server = PoolServer(POOL, folder=folder / "file/plugins", device_files=DeviceFiles(folder))
    with pytest.raises(UnreachableError, match="cannot serve there"):
        server.start()
