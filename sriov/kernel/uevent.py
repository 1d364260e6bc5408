"""Hear the kernel's uevents: a device came, went, or was given a driver.

NETLINK_KOBJECT_UEVENT, multicast group 1 (Linux 6.12, lib/kobject_uevent.c). Events of PCI functions reach every network
namespace of the initial user namespace, events of a network device only the namespace it is in. Events may be lost when
many come at once, so a listener takes one as a reason to look again, never as news.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sriov.errors import KernelError

_NETLINK_KOBJECT_UEVENT = 15
_KERNEL_GROUP = 1
_LENGTH_MAX = 8192  # UEVENT_BUFFER_SIZE is 2048


class UeventSocket:
    """An open subscription; a context manager's, see `open_uevents`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """Return the descriptor, for `select.poll`."""
        return self._connection.fileno()

    def drain(self, *subsystems: str) -> bool:
        """Read every event that waits. Returns whether one was of these subsystems, or events were lost."""
        found = False
        while True:
            try:
                event = self._connection.recv(_LENGTH_MAX)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError.from_oserror(error, subject="uevents", operation="receive them") from error
                found = True
                continue
            found = found or parse_subsystem(event) in subsystems


def parse_subsystem(event: bytes) -> str | None:
    """Read the subsystem from an event's text (``ACTION@path`` and then ``KEY=value``, each ended by a zero)."""
    for line in event.split(b"\0"):
        key, _, value = line.partition(b"=")
        if key == b"SUBSYSTEM":
            return value.decode("ascii", "replace")
    return None


@contextmanager
def open_uevents() -> Iterator[UeventSocket]:
    """Subscribe to the kernel's uevents for as long as the context lasts.

    Raises:
        KernelError: the kernel has no uevents (a container without CAP_NET_ADMIN still gets them).
    """
    try:
        connection = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_KOBJECT_UEVENT)
    except OSError as error:
        raise KernelError.from_oserror(error, subject="uevents", operation="open a netlink socket") from error
    with connection:
        connection.bind((0, _KERNEL_GROUP))
        yield UeventSocket(connection)
