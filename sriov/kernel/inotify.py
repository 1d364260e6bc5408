"""Hear that something changed among the entries of a folder: man 7 inotify, through libc.

An event is a reason to look again; which entry changed is not told.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sriov.errors import KernelError

# include/uapi/linux/inotify.h
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
_ONLYDIR = 0x01000000
_MASK = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """A watch on one folder's entries; a context manager's, see `open_folder_watch`."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder = folder
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor, for `select.poll`."""
        return self._descriptor

    def renew(self) -> None:
        """Watch the folder that has this path now; nothing changes when it is the one already watched.

        Raises:
            KernelError: it cannot be watched (it is not there, or fs.inotify.max_user_watches is reached).
        """
        if _libc.inotify_add_watch(self._descriptor, os.fsencode(self._folder), _MASK) < 0:
            raise KernelError(
                str(self._folder), "watch it", ctypes.get_errno(), hint="see fs.inotify.max_user_watches for ENOSPC"
            )

    def drain(self) -> bool:
        """Read every event that waits. Returns whether there was one."""
        found = False
        with suppress(BlockingIOError):
            while os.read(self._descriptor, 65536):
                found = True
        return found


@contextmanager
def open_folder_watch(folder: Path) -> Iterator[FolderWatch]:
    """Watch `folder` for as long as the context lasts.

    Raises:
        KernelError: it cannot be watched.
    """
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise KernelError(
            str(folder), "watch it", ctypes.get_errno(), hint="see fs.inotify.max_user_instances for EMFILE"
        )
    try:
        watch = FolderWatch(folder, descriptor)
        watch.renew()
        yield watch
    finally:
        os.close(descriptor)
