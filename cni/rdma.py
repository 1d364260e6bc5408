"""Take the RDMA device of a VF along into the pod, and bring it back.

Where the RDMA subsystem is shared, every namespace sees every device and there is nothing to do. Where it is exclusive, a
device belongs to one namespace; when that dies the kernel sends it home by itself.
"""

from __future__ import annotations

import errno
import logging

from sriov.errors import KernelError
from sriov.kernel.rdma import NetnsMode, RdmaDevice, open_rdma
from sriov.kernel.sysfs import Sysfs
from sriov.log import fields
from sriov.model import PciAddress

logger = logging.getLogger(__name__)


def find_rdma(vf: PciAddress, *, sysfs: Sysfs) -> str:
    """Return the name of the RDMA device that must go along with a VF; empty when there is none.

    Raises:
        KernelError: the kernel refused to tell.
    """
    name = sysfs.find_rdma_device(vf)
    if name is None:
        return ""
    with open_rdma(subject=f"VF {vf}") as rdma:
        return name if rdma is not None and rdma.read_mode() is NetnsMode.EXCLUSIVE else ""


def take_along(name: str, *, vf: PciAddress, netns: int) -> None:
    """Move an RDMA device from here into the pod's namespace; harmless when it is there.

    A driver that cannot be moved leaves the pod without RDMA, which is logged: its network is not concerned.

    Raises:
        KernelError: the kernel refused for another reason.
    """
    with open_rdma(subject=f"VF {vf}") as rdma:
        device = rdma.find(name) if rdma is not None else None
        if rdma is None or device is None:
            return
        try:
            rdma.move(device, netns=netns)
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            logger.warning("the RDMA device stays at home", extra=fields(vf=vf, device=name, reason=error))


def bring_back(name: str, *, vf: PciAddress, home: int, netns: int) -> None:
    """Move an RDMA device home from the pod's namespace; harmless when it is not there (any more).

    Raises:
        KernelError: the kernel refused.
    """
    with open_rdma(subject=f"VF {vf}", netns=netns) as rdma:
        device: RdmaDevice | None = rdma.find(name) if rdma is not None else None
        if rdma is not None and device is not None:
            rdma.move(device, netns=home)
