"""Network namespaces: open one, tell two apart, run a function inside one.

A namespace is entered by a thread of its own that ends afterwards: ``setns(CLONE_NEWNET)`` changes the calling thread
only (man 2 setns), so no other thread ever sees the wrong namespace and nothing has to be switched back. Sockets opened
in there stay in that namespace for life, and ``/proc/sys/net`` shows that namespace's sysctls.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sriov.errors import InputError, KernelError, NotFoundError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

OWN = Path("/proc/self/ns/net")


@dataclass(frozen=True, slots=True)
class NetnsId:
    """What tells a namespace from any other that lives at the same time: its file's device and inode numbers."""

    device: int
    inode: int


@contextmanager
def open_netns(path: str | Path, *, subject: str = "network namespace") -> Iterator[int]:
    """Give a descriptor of the namespace at `path`; the namespace lives at least as long.

    Raises:
        NotFoundError: nothing is there.
        InputError: what is there is no namespace.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFoundError(
            subject,
            f"cannot open {str(path)!r}: {error.strerror}",
            hint="the pod's sandbox is gone, or the path is not visible here",
        ) from error
    try:
        check_is_netns(descriptor, path=str(path), subject=subject)
        yield descriptor
    finally:
        os.close(descriptor)


def check_is_netns(descriptor: int, *, path: str, subject: str = "network namespace") -> None:
    """Make sure that `descriptor` is a namespace's.

    After a reboot, or once a sandbox is gone, runtimes leave an ordinary empty file at the path.

    Raises:
        InputError: it is not.
    """
    if os.fstat(descriptor).st_dev != os.stat(OWN).st_dev:
        raise InputError(
            subject,
            f"{path!r} is not a network namespace",
            hint="an empty file is left there after a reboot; the sandbox is gone",
        )


def identify(descriptor: int) -> NetnsId:
    """Tell which namespace an open descriptor is."""
    found = os.fstat(descriptor)
    return NetnsId(found.st_dev, found.st_ino)


def identify_own() -> NetnsId:
    """Tell which namespace this process' main thread is in."""
    found = os.stat(OWN)
    return NetnsId(found.st_dev, found.st_ino)


def run_in(descriptor: int, function: Callable[[], T]) -> T:
    """Run `function` in the namespace of `descriptor`, in a thread of its own, and return what it returns.

    `function` must open the sockets it uses itself. Whatever it raises is raised here.

    Raises:
        KernelError: the namespace cannot be entered.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
                raise KernelError(
                    f"network namespace {identify(descriptor).inode}",
                    "enter it",
                    ctypes.get_errno(),
                    hint="dpukit needs CAP_SYS_ADMIN",
                )
            result.append(function())
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread, whatever it is
            failure.append(error)

    thread = threading.Thread(target=enter, name="in-netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
