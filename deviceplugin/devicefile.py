"""The DeviceInfo files in which a device plugin tells the CNI's runtime about allocated devices.

NPWG device-info specification 1.1.0: one file for each device, read-only, replaced as a whole. Files outlive this
program on purpose: the runtime may read one that was written before a restart. What is left of devices that no longer
exist is removed at start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from deviceplugin.allocate import name_device_file, render_device_file
from deviceplugin.inventory import Device
from sriov.durable import replace_file
from sriov.errors import KernelError


class DeviceFiles:
    """The folder of DeviceInfo files; this program owns those of its own resources in it.

    Args:
        folder: where they are; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, resource: str, devices: Iterable[Device]) -> None:
        """Write the file of each device, replacing what was there.

        Raises:
            KernelError: the file cannot be written.
        """
        for device in devices:
            path = self._folder / name_device_file(resource, device.id)
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                replace_file(path, render_device_file(device), mode=0o444)
            except OSError as error:
                raise KernelError.from_oserror(
                    error, subject=str(path), operation="write it", hint="mount the folder read-write"
                ) from error

    def remove_others(self, resource: str, keep: Collection[str]) -> tuple[str, ...]:
        """Remove the resource's files of devices other than those with the ids `keep`. Returns the files' names.

        Raises:
            KernelError: one cannot be removed.
        """
        kept = {name_device_file(resource, device_id) for device_id in keep}
        first, last = name_device_file(resource, "\0").split("\0")
        removed = []
        for path in sorted(self._folder.glob("*-device.json")):
            # A PCI address between: another resource's name may begin with this one's.
            between = path.name.removeprefix(first).removesuffix(last)
            if path.name.startswith(first) and between.count(":") == 2 and "-" not in between and path.name not in kept:
                _unlink(path)
                removed.append(path.name)
        return tuple(removed)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise KernelError.from_oserror(error, subject=str(path), operation="remove it") from error
