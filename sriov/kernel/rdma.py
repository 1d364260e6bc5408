"""Ask the kernel for RDMA devices and take one to another network namespace.

NETLINK_RDMA, client NLDEV: commands and attributes by their numbers in include/uapi/rdma/rdma_netlink.h (Linux 6.12).
In the subsystem's mode ``shared`` every namespace sees every device and none can be moved; in ``exclusive`` a device is
seen in one namespace, and comes home by itself when that ends (drivers/infiniband/core/device.c).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum

from sriov.errors import KernelError
from sriov.kernel import netns as namespaces
from sriov.kernel.netlink import (
    NetlinkSocket,
    open_netlink,
    pack_number,
    parse_attributes,
    read_number,
    read_text,
)

_NETLINK_RDMA = 20
_NLDEV = 5 << 10  # RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, 0)
_READ_DEVICES, _CHANGE_DEVICE, _READ_PORTS, _READ_SYSTEM = 1, 2, 5, 6  # RDMA_NLDEV_CMD_*
_INDEX, _NAME, _LINK, _NETNS_MODE, _NETNS = 1, 2, 50, 66, 68  # RDMA_NLDEV_*

_TIMEOUT_S = 60
"""Moving a device takes away its clients' resources, and waits for them."""

_HINTS = {
    errno.EOPNOTSUPP: "its driver cannot, or the subsystem is shared (rdma system show)",
    errno.EPERM: "dpukit needs CAP_NET_ADMIN in both namespaces",
}


class NetnsMode(StrEnum):
    """To which namespaces an RDMA device belongs: to all (``shared``), or to one (``exclusive``)."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class RdmaDevice:
    """An RDMA device as its namespace shows it."""

    index: int
    """Its number, the same in every namespace."""
    name: str


class Rdma:
    """The RDMA devices of one namespace.

    Args:
        netlink: a socket of `open_rdma`; stays the caller's.
        netns: a descriptor of its namespace, stays the caller's; None: that of the threads that use this.
    """

    def __init__(self, netlink: NetlinkSocket, *, netns: int | None) -> None:
        self._netlink = netlink
        self._netns = netns

    def read_mode(self) -> NetnsMode:
        """Tell whether devices belong to one namespace; before Linux 5.2 they belong to all.

        Raises:
            KernelError: the kernel refused.
        """
        (answer,) = self._netlink.request(_NLDEV + _READ_SYSTEM, b"", operation="read the mode of the RDMA subsystem")
        mode = parse_attributes(answer.payload).get(_NETNS_MODE)
        return NetnsMode.SHARED if mode is None or read_number(mode) else NetnsMode.EXCLUSIVE

    def read_all(self) -> tuple[RdmaDevice, ...]:
        """Read every device of the namespace.

        Raises:
            KernelError: the kernel refused.
        """
        answers = self._netlink.dump(_NLDEV + _READ_DEVICES, b"", operation="list RDMA devices")
        return tuple(device for answer in answers if (device := parse_device(answer.payload)) is not None)

    def find(self, name: str) -> RdmaDevice | None:
        """Return the device with this name (the one that sysfs tells of a VF, say).

        Raises:
            KernelError: the kernel refused.
        """
        return next((device for device in self.read_all() if device.name == name), None)

    def find_of_link(self, index: int) -> RdmaDevice | None:
        """Return the device of which a port stands on the link with this number; both must be in this namespace.

        Raises:
            KernelError: the kernel refused.
        """
        for device in self.read_all():
            if index in self._links_of(device):
                return device
        return None

    def _links_of(self, device: RdmaDevice) -> Iterator[int]:
        # A dump of ports is one device's; it ends with nothing when that has just gone.
        question = pack_number(_INDEX, device.index)
        try:
            answers = self._netlink.dump(_NLDEV + _READ_PORTS, question, operation=f"list ports of {device.name}")
        except KernelError as error:
            if error.errno in (errno.EINVAL, errno.ENODEV):
                return
            raise
        for answer in answers:
            link = parse_attributes(answer.payload).get(_LINK)
            if link is not None:
                yield read_number(link)

    def move(self, device: RdmaDevice, *, netns: int) -> None:
        """Move a device into the namespace behind the descriptor `netns`. It keeps number and name.

        Raises:
            KernelError: the kernel refused (EEXIST: the name is taken over there).
        """
        message = pack_number(_INDEX, device.index) + pack_number(_NETNS, netns)

        def ask() -> None:
            self._netlink.request(_NLDEV + _CHANGE_DEVICE, message, operation=f"move RDMA device {device.name}")

        try:
            # The kernel looks for the device in the namespace of the asking thread, whatever the socket's is
            # (ib_device_set_netns_put).
            ask() if self._netns is None else namespaces.run_in(self._netns, ask)
        except KernelError as error:
            hint = _HINTS.get(error.errno, "")
            raise KernelError(error.subject, error.operation, error.errno, said=error.said, hint=hint) from error


def parse_device(message: bytes) -> RdmaDevice | None:
    """Read one device of a dump; None when the message names none. Pure."""
    attributes = parse_attributes(message)
    if _INDEX not in attributes or _NAME not in attributes:
        return None
    return RdmaDevice(read_number(attributes[_INDEX]), read_text(attributes[_NAME]))


@contextmanager
def open_rdma(*, subject: str, netns: int | None = None) -> Iterator[Rdma | None]:
    """Give the RDMA devices of the namespace behind the descriptor `netns`; None when the kernel has no RDMA.

    Args:
        subject: the thing the work is about, for errors.
        netns: stays the caller's; None: the calling thread's own namespace.

    Raises:
        KernelError: the namespace cannot be entered.
    """
    with ExitStack() as stack:

        def enter() -> NetlinkSocket:
            return stack.enter_context(open_netlink(_NETLINK_RDMA, subject=subject, timeout_s=_TIMEOUT_S))

        try:
            netlink = enter() if netns is None else namespaces.run_in(netns, enter)
        except KernelError as error:
            # So says a kernel without RDMA; one whose ib_core is a module not yet loaded has no RDMA device, either.
            if error.errno != errno.EPROTONOSUPPORT:
                raise
            netlink = None
        yield None if netlink is None else Rdma(netlink, netns=netns)
