"""What wakes the agent: signals, the kernel's devices, Open vSwitch's run directory, the state file.

A wake-up carries nothing but a reason to look again.
"""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from offload.desired import parse_state
from offload.model import DpuState
from sriov.errors import KernelError
from sriov.kernel.inotify import FolderWatch, open_folder_watch
from sriov.kernel.uevent import UeventSocket, open_uevents
from sriov.source import read_text


class StateFile:
    """The file with the desired state.

    Its faults do not reach into what is in force: a version that cannot be read is reported once, and the one before it
    stays.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    @property
    def folder(self) -> Path:
        """The folder it stands in."""
        return self._path.parent

    def has_changed(self) -> bool:
        """Tell whether there is another version than the one read last; a file that is not there has none."""
        stamp = self._stamp()
        return stamp is not None and stamp != self._seen

    def read(self) -> DpuState:
        """Read the version that is there now.

        Raises:
            InputError: it has faults, or the file cannot be read.
        """
        self._seen = self._stamp()
        return read_state(self._path)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def read_state(path: Path) -> DpuState:
    """Read the state document at `path`.

    Raises:
        InputError: it has faults, or the file cannot be read.
    """
    text = read_text(path, hint="name the state file with --state file:PATH")
    return parse_state(text, source=str(path))


class StopSignal:
    """Whether SIGTERM or SIGINT has come; see `stop_signals`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._has_come = False

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._connection.fileno()

    def has_come(self, *, within_s: float) -> bool:
        """Tell whether one has come; wait for it at most `within_s`."""
        if not self._has_come:
            self._has_come = bool(select.select([self._connection], [], [], within_s)[0])
        return self._has_come


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Take SIGTERM and SIGINT as a wish to end, for as long as the context lasts. For the main thread."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(0)
        before = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
        descriptor = signal.set_wakeup_fd(theirs.fileno())
        try:
            yield StopSignal(ours)
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, action in before.items():
                signal.signal(number, action)


def _ignore(_number: int, _frame: object) -> None:
    """Let the wake-up descriptor tell."""


class Wakeups:
    """Everything outside Open vSwitch that is a reason to look again.

    Args:
        uevents: the kernel's devices.
        folders: where files come and go that matter.
    """

    def __init__(self, uevents: UeventSocket, folders: Sequence[FolderWatch]) -> None:
        self._uevents = uevents
        self._folders = folders

    @classmethod
    @contextmanager
    def open(cls, *folders: Path) -> Iterator[Self]:
        """Watch network devices and the entries of `folders`; a folder that is not there is not watched.

        Raises:
            KernelError: the kernel tells nothing of its devices.
        """
        with ExitStack() as stack:
            uevents = stack.enter_context(open_uevents())
            watches = []
            for folder in folders:
                with suppress(KernelError):
                    watches.append(stack.enter_context(open_folder_watch(folder)))
            yield cls(uevents, watches)

    def filenos(self) -> list[int]:
        """Return the descriptors to wait on."""
        return [self._uevents.fileno(), *(watch.fileno() for watch in self._folders)]

    def drain(self) -> bool:
        """Take what has come. Returns whether it is a reason to look again."""
        # Every one must be drained, or it wakes the loop for ever.
        return any([self._uevents.drain("net"), *(watch.drain() for watch in self._folders)])
