"""The description of the device: written where there is none, left alone where there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cni.devicefile import write_device_file
from sriov.errors import KernelError
from sriov.model import PciAddress

VF, PF = PciAddress(0, 3, 16, 1), PciAddress(0, 3, 0, 0)


def test_where_there_is_none_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    write_device_file(path, vf=VF, pf=PF)
    assert json.loads(path.read_text()) == {
        "type": "pci", "version": "1.1.0", "pci": {"pci-address": "0000:03:10.1", "pf-pci-address": "0000:03:00.0"},
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o444


def test_the_device_plugins_own_description_stays(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text("{}")
    write_device_file(path, vf=VF, pf=PF)
    assert path.read_text() == "{}"


@pytest.mark.parametrize("name", ["no/such/folder", "\0"])
def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(KernelError, match="describe the device"):
        write_device_file(tmp_path / name, vf=VF, pf=PF)
