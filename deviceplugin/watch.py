"""Sleep until there is a reason to look again: a uevent, a change in the kubelet's folder, a call of `wake`, or time.

Carries no news, only the reason: whoever wakes up looks at everything.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sriov.errors import KernelError
from sriov.kernel.inotify import FolderWatch, open_folder_watch
from sriov.kernel.uevent import UeventSocket, open_uevents

SUBSYSTEMS = ("pci", "net")


class Watch:
    """What the loop sleeps on; a context manager's, see `open_watch`."""

    def __init__(self, path: Path, folder: FolderWatch, uevents: UeventSocket, alarm: int) -> None:
        self._path = path
        self._folder = folder
        self._uevents = uevents
        self._alarm = alarm
        self._poll = select.poll()
        for descriptor in (folder.fileno(), uevents.fileno(), alarm):
            self._poll.register(descriptor, select.POLLIN)

    def wake(self) -> None:
        """End the sleep; may be called from any thread and from a signal's handler."""
        os.eventfd_write(self._alarm, 1)

    def renew(self) -> None:
        """Watch the kubelet's folder that is there now, made when it is not (it may have been removed and made again).

        Raises:
            KernelError: it cannot be made or watched.
        """
        _make(self._path)
        self._folder.renew()

    def sleep(self, seconds: float) -> None:
        """Sleep until there is a reason to look again, `seconds` at most."""
        ready = {descriptor for descriptor, _ in self._poll.poll(max(0, int(seconds * 1000)))}
        self._folder.drain()
        self._uevents.drain(*SUBSYSTEMS)
        if self._alarm in ready:
            os.eventfd_read(self._alarm)


@contextmanager
def open_watch(folder: Path) -> Iterator[Watch]:
    """Watch the kubelet's folder and the kernel's uevents for as long as the context lasts.

    Raises:
        KernelError: one of them cannot be watched, or the folder not be made.
    """
    _make(folder)
    alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        with open_folder_watch(folder) as entries, open_uevents() as uevents:
            yield Watch(folder, entries, uevents, alarm)
    finally:
        os.close(alarm)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise KernelError.from_oserror(error, subject=str(folder), operation="make the folder") from error
