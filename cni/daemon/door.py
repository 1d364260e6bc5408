"""The daemon's socket in the file system: there for root alone, from when it answers to when it stops.

A daemon that starts takes the place of whatever is there, another daemon included: clients meet the old one or the new
one, never none. The old one notices, finishes what it began, and ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sriov.errors import KernelError
from sriov.kernel.inotify import FolderWatch, open_folder_watch

_BACKLOG = 1024


class Door:
    """A listening socket, its name, and a watch on that; a context manager's, see `open_door`."""

    def __init__(self, listener: socket.socket, path: Path, watch: FolderWatch) -> None:
        self.listener = listener
        self.path = path
        self.watch = watch
        self._inode = path.stat().st_ino

    @property
    def is_ours(self) -> bool:
        """Whether clients that go by the name come here."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    @property
    def is_nobodys(self) -> bool:
        """Whether nothing has the name."""
        return not self.path.exists()

    def shut(self) -> None:
        """Let nobody else come; who has come already can still be taken in."""
        if self.is_ours:
            self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def open_door(path: Path) -> Iterator[Door]:
    """Give the daemon's socket, at `path`, in place of whatever was there; taken away at the end if still ours.

    Raises:
        KernelError: it cannot be made.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listener:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            listener.bind(str(fresh))
            fresh.chmod(0o600)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise KernelError.from_oserror(error, subject=str(path), operation="make the socket") from error
        with open_folder_watch(path.parent) as watch:
            try:
                # Renamed when it is ready.
                fresh.replace(path)
                door = Door(listener, path, watch)
            except OSError as error:
                raise KernelError.from_oserror(error, subject=str(path), operation="make the socket") from error
            try:
                yield door
            finally:
                door.shut()
