"""The generated code is what its source and the generator make, and speaks the kubelet's names and numbers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deviceplugin.kubelet import v1beta1_pb2 as api

pytestmark = pytest.mark.netns

FOLDER = Path(__file__).parents[3] / "deviceplugin/kubelet"


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="the generator (extra lint) is not installed")
    copy = tmp_path / "deviceplugin/kubelet"
    copy.mkdir(parents=True)
    for name in ("v1beta1.proto", "regenerate.sh"):
        shutil.copy(FOLDER / name, copy)
    subprocess.run([copy / "regenerate.sh"], env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}, check=True)
    made = sorted(copy.glob("*_pb2*"))
    assert [path.name for path in made] == ["v1beta1_pb2.py", "v1beta1_pb2.pyi", "v1beta1_pb2_grpc.py"]
    for path in made:
        assert path.read_text() == (FOLDER / path.name).read_text(), f"run regenerate.sh: {path.name} differs"


def test_services_have_the_kubelets_names() -> None:
    services = api.DESCRIPTOR.services_by_name
    assert services["Registration"].full_name == "v1beta1.Registration"
    assert [method.name for method in services["DevicePlugin"].methods] == [
        "GetDevicePluginOptions",
        "ListAndWatch",
        "GetPreferredAllocation",
        "Allocate",
        "PreStartContainer",
    ]


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("DevicePluginOptions", {"pre_start_required": 1, "get_preferred_allocation_available": 2}),
        ("RegisterRequest", {"version": 1, "endpoint": 2, "resource_name": 3, "options": 4}),
        ("Device", {"ID": 1, "health": 2, "topology": 3}),
        ("ContainerAllocateResponse", {"envs": 1, "mounts": 2, "devices": 3, "annotations": 4, "cdi_devices": 5}),
        ("DeviceSpec", {"container_path": 1, "host_path": 2, "permissions": 3}),
        ("Mount", {"container_path": 1, "host_path": 2, "read_only": 3}),
    ],
)
def test_fields_have_the_kubelets_numbers(message: str, numbers: dict[str, int]) -> None:
    fields = api.DESCRIPTOR.message_types_by_name[message].fields
    assert {field.name: field.number for field in fields} == numbers
