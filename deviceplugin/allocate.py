"""What a container is told about the VFs it was given, and which VFs it had best be given. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from deviceplugin.config import Pool
from deviceplugin.inventory import Device
from sriov.errors import BusyError, InputError, NotFoundError
from sriov.model import PciAddress

DEVICE_FILE_VERSION = "1.1.0"
"""NPWG device-info specification."""

_NOT_IN_NAME = re.compile(r"[^A-Z0-9_]")


def check_usable(ids: Iterable[str], devices: Iterable[Device], *, pool: Pool) -> tuple[Device, ...]:
    """Return the devices with these `ids`, in their order.

    Raises:
        NotFoundError: the pool has no such device.
        BusyError: it has, but the device is unhealthy.
    """
    by_id = {device.id: device for device in devices}
    found = []
    for device_id in ids:
        device = by_id.get(device_id)
        if device is None:
            raise NotFoundError(
                f"device {device_id}",
                f"is not in the pool {pool.resource}",
                hint="the kubelet's list is older than this host's VFs: were they recreated?",
            )
        if device.unhealthy:
            raise BusyError(f"device {device_id}", f"cannot be used: {device.unhealthy}")
        found.append(device)
    return tuple(found)


def render_environment(devices: Sequence[Device], *, pool: Pool) -> Mapping[str, str]:
    """Render the environment variables of a container that was given `devices`.

    The names are sriov-network-device-plugin's: upper case, dots as underscores. A resource name with a hyphen makes a
    name that no shell can use, so each such variable stands there again with underscores for everything else too.
    """
    name = f"PCIDEVICE_{pool.prefix}_{pool.name}".upper().replace(".", "_")
    told = {device.id: _tell(device, pool) for device in devices}
    variables = {
        name: ",".join(device.id for device in devices),
        f"{name}_INFO": json.dumps(told, separators=(",", ":")),
    }
    return variables | {_NOT_IN_NAME.sub("_", key): value for key, value in variables.items()}


def _tell(device: Device, pool: Pool) -> Mapping[str, Mapping[str, str]]:
    extra = {**pool.additional.get("*", {}), **pool.additional.get(device.id, {})}
    generic = {"generic": {"deviceID": device.id}}
    return {**generic, "extra": extra} if extra else generic


def name_device_file(resource: str, device_id: str) -> str:
    """Name the DeviceInfo file of a device."""
    return f"{resource.replace('/', '-')}-{device_id}-device.json"


def render_device_file(device: Device) -> str:
    """Render the DeviceInfo file that the CNI's runtime copies to where the CNI plugin finds it."""
    pci = {"pci-address": device.id, "pf-pci-address": str(device.pf)}
    return json.dumps({"type": "pci", "version": DEVICE_FILE_VERSION, "pci": pci}) + "\n"


def prefer(available: Sequence[str], *, required: Sequence[str], count: int, devices: Iterable[Device]) -> list[str]:
    """Choose `count` of the `available` ids, the `required` ones among them, close together.

    Close is: on a PF already chosen, then on a NUMA node already chosen, then on a PF that has room for all, and of those
    on the fullest, so that a pod with several VFs later still finds a PF with room. Addresses break ties, so the choice
    is the same each time.

    Raises:
        InputError: there are not that many available, or more are required.
    """
    by_id = {device.id: device for device in devices}
    chosen = list(required)
    left = [device_id for device_id in available if device_id not in chosen and device_id in by_id]
    if not len(chosen) <= count <= len(chosen) + len(left):
        raise InputError("allocation_size", f"{count} devices of {len(chosen) + len(left)} cannot be chosen")
    while len(chosen) < count:
        nearest = _find_nearest(left, chosen=chosen, missing=count - len(chosen), by_id=by_id)
        left.remove(nearest)
        chosen.append(nearest)
    return chosen


def _find_nearest(left: Sequence[str], *, chosen: Sequence[str], missing: int, by_id: Mapping[str, Device]) -> str:
    near = [by_id[device_id] for device_id in chosen if device_id in by_id]
    pfs, nodes = {device.pf for device in near}, {device.numa_node for device in near}
    room = Counter(by_id[device_id].pf for device_id in left)

    def distance(device_id: str) -> tuple[bool, bool, bool, int, PciAddress]:
        device = by_id[device_id]
        here = room[device.pf]
        return device.pf not in pfs, device.numa_node not in nodes, here < missing, here, device.address

    return min(left, key=distance)
