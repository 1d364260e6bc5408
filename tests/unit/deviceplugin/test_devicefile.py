"""DeviceInfo files are whole, read-only, and nobody else's are touched."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deviceplugin.devicefile import DeviceFiles
from deviceplugin.inventory import Device
from sriov.errors import KernelError
from sriov.model import PciAddress

DEVICE = Device(PciAddress(0, 1, 0x10, 0), 0, PciAddress(0, 1, 0, 0), None)


def test_a_file_is_read_only_and_is_replaced_by_the_next(tmp_path: Path) -> None:
    files = DeviceFiles(tmp_path / "new/devinfo")
    files.write("example.com/vfs", [DEVICE])
    path = tmp_path / "new/devinfo/example.com-vfs-0000:01:10.0-device.json"
    first = path.stat()
    assert stat.S_IMODE(first.st_mode) == 0o444
    files.write("example.com/vfs", [DEVICE])
    assert path.stat().st_ino != first.st_ino
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_only_the_resources_own_files_of_other_devices_are_removed(tmp_path: Path) -> None:
    names = [
        "example.com-vfs-0000:01:10.0-device.json",
        "example.com-vfs-0000:01:10.2-device.json",
        "example.com-vfs-b-0000:01:10.2-device.json",
        "other.com-vfs-0000:01:10.2-device.json",
        "notes.txt",
    ]
    for name in names:
        (tmp_path / name).write_text("{}")
    assert DeviceFiles(tmp_path).remove_others("example.com/vfs", {"0000:01:10.0"}) == (names[1],)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(set(names) - {names[1]})


def test_no_folder_means_nothing_to_remove(tmp_path: Path) -> None:
    assert DeviceFiles(tmp_path / "absent").remove_others("example.com/vfs", ()) == ()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "devinfo").write_text("")
    with pytest.raises(KernelError, match="write it"):
        DeviceFiles(tmp_path / "devinfo").write("example.com/vfs", [DEVICE])
