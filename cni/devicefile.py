"""The file in which the runtime looks for a description of the device: ``runtimeConfig.CNIDeviceInfoFile``.

NPWG device information specification 1.1.0. The runtime (Multus) puts the device plugin's own description there first, and
removes the file after DEL; only where there is none, a device plugin having said nothing, it is written here.
"""

from __future__ import annotations

import json
from pathlib import Path

from sriov.durable import replace_file
from sriov.errors import KernelError
from sriov.model import PciAddress


def write_device_file(path: Path, *, vf: PciAddress, pf: PciAddress) -> None:
    """Describe a VF at `path`, unless there is a description already.

    Raises:
        KernelError: the file cannot be written.
    """
    said = {
        "type": "pci",
        "version": "1.1.0",
        "pci": {"pci-address": str(vf), "pf-pci-address": str(pf)},
    }
    try:
        if path.exists() and path.stat().st_size:
            return
        replace_file(path, json.dumps(said) + "\n", mode=0o444)
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else OSError(22, str(error))
        raise KernelError.from_oserror(reason, subject=str(path), operation="describe the device") from error
