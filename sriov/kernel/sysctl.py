"""Read and write the switches the kernel keeps per network device: ``/proc/sys/net/<family>/conf/<device>/<switch>``.

What this folder shows is the network namespace of the thread that opens a file in it (net/sysctl_net.c), so a thread that
has entered a namespace needs no mount of its own. Meanings: Documentation/networking/ip-sysctl.rst (Linux 6.12).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sriov.errors import KernelError
from sriov.kernel import netns as namespaces

T = TypeVar("T")

_NET = Path("/proc/sys/net")
_HINTS = {
    errno.EROFS: "mount /proc/sys read-write in this container",
    errno.EACCES: "dpukit needs CAP_NET_ADMIN",
    errno.EPERM: "dpukit needs CAP_NET_ADMIN",
}


def find_switch(family: str, device: str, switch: str, *, netns: int | None) -> int | None:
    """Return the value of a device's switch; None when the kernel has no such switch, or the device is gone.

    Args:
        family: ``ipv4`` or ``ipv6``; a kernel without IPv6 has no switch of that family.
        device: its name; ``all`` and ``default`` are not devices and have switches, too.
        switch: such as ``disable_ipv6``.
        netns: a descriptor of the device's namespace, stays the caller's; None: the calling thread's own.

    Raises:
        KernelError: the kernel refused.
    """
    return _run(netns, lambda: _read(_path(family, device, switch)))


def ensure_switch(family: str, device: str, switch: str, value: int, *, netns: int | None) -> bool:
    """Give a device's switch this value. Returns whether it had another; writes only then.

    Args:
        family: ``ipv4`` or ``ipv6``.
        device: its name.
        switch: such as ``disable_ipv6``.
        value: what it shall be.
        netns: a descriptor of the device's namespace, stays the caller's; None: the calling thread's own.

    Raises:
        KernelError: there is no such switch, or the kernel refused.
    """

    def ensure() -> bool:
        path = _path(family, device, switch)
        if _read(path) == value:
            return False
        try:
            path.write_text(f"{value}\n", encoding="ascii")
        except OSError as error:
            operation, hint = f"set {switch} to {value}", _HINTS.get(error.errno or 0, "")
            raise KernelError.from_oserror(error, subject=f"link {device}", operation=operation, hint=hint) from error
        return True

    return _run(netns, ensure)


def _run(netns: int | None, function: Callable[[], T]) -> T:
    return function() if netns is None else namespaces.run_in(netns, function)


def _path(family: str, device: str, switch: str) -> Path:
    # Not Path's own joining of a text with dots: a device may be named "eth0.5", and none is named "." or "..".
    return _NET / family / "conf" / device / switch


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        operation = f"read {path.name}"
        raise KernelError.from_oserror(error, subject=f"link {path.parent.name}", operation=operation) from error
