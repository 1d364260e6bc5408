"""Run a function in a process of its own and kill that with SIGKILL right after its n-th system-changing step.

The process is traced (man 2 ptrace), so the step is a system call that has changed something, whoever made it and by
whichever library: nothing in the code under test knows of it. A step counts when the call has succeeded: a netlink
message other than a question, a file made, written, synced, renamed or removed, a process started; and once per started
process the wait for what it says. Other threads and started processes run on, as they do when a worker is killed.
x86-64 only. For a process that has one thread only: a fork of one with more may wait for ever for what another thread had.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TRACEME, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_TRACE_SYSCALLS_APART, _DIE_WITH_TRACER = 1, 0x100000
_STOP_OF_SYSCALL = signal.SIGTRAP | 0x80
_AT_ENTRY, _AT_EXIT = 1, 2

_WRITES_FILE: Mapping[int, str] = {
    1: "write", 18: "pwrite64", 20: "writev", 74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate", 82: "rename",
    83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink", 88: "symlink", 90: "chmod", 91: "fchmod", 258: "mkdirat",
    263: "unlinkat", 264: "renameat", 265: "linkat", 266: "symlinkat", 316: "renameat2",
}  # fmt: skip
_START = "start a process"
_FORK, _VFORK = 57, 58
_CLONE, _CLONE3, _CLONE_THREAD = 56, 435, 0x10000
_OPEN, _OPENAT, _O_CREAT = 2, 257, 0o100
_SENDTO, _SENDMSG, _POLL = 44, 46, 7
_CLONE_NEWNET = 0x40000000

_KINDS = {0: "NEW", 1: "DEL", 3: "SET"}
_LINK_FAMILIES = {16: "LINK", 20: "ADDR", 24: "ROUTE", 28: "NEIGH", 108: "LINKPROP"}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass(frozen=True)
class Run:
    """How a traced run went."""

    steps: tuple[str, ...]
    """The changing steps it came to, the last one included after which it was killed."""
    killed: bool


def is_possible() -> bool:
    """Tell whether this machine's system calls are known here."""
    return platform.machine() == "x86_64"


def run(function: Callable[[], object], *, kill_after: int | None = None) -> Run:
    """Run `function` in a forked process, traced.

    Args:
        function: what it returns is lost; what it raises is printed and fails the run.
        kill_after: so many steps are done, then the process is killed; 0: before its first; None: it is not.
    """
    child = os.fork()
    if child == 0:
        _libc.ptrace(_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        _end_with(function)
    os.waitpid(child, 0)
    _trace(_SETOPTIONS, child, _TRACE_SYSCALLS_APART | _DIE_WITH_TRACER)
    return _follow(child, kill_after)


def call(function: Callable[[], object]) -> None:
    """Run `function` in a forked process, untraced; fail when it raises."""
    child = os.fork()
    if child == 0:
        _end_with(function)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the process ended with status {status}; what it said is on standard error"


def enter_netns(path: str) -> None:
    """Take this process, which has one thread, into the network namespace at `path`, for good."""
    descriptor = os.open(path, os.O_RDONLY)
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns {path}")
    os.close(descriptor)


def _end_with(function: Callable[[], object]) -> None:
    status = 1
    try:
        function()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it ends this process and no more
        traceback.print_exc()
    finally:
        # Nothing of the parent's (pytest, hypothesis) may run its farewell here.
        os._exit(status)


def _trace(request: int, child: int, argument: int | None = None) -> None:
    if _libc.ptrace(request, child, None, argument) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")


class _Reader:
    """Tells of a stopped process at which system call it is."""

    def __init__(self, child: int) -> None:
        self._child = child
        self._buffer = ctypes.create_string_buffer(88)

    def read(self) -> tuple[int, tuple[int, ...]]:
        """Return where it is: at an entry with number and arguments, or at an exit with result and error."""
        if _libc.ptrace(_SYSCALL_INFO, self._child, len(self._buffer), self._buffer) == -1:
            raise OSError(ctypes.get_errno(), "ptrace")
        at = self._buffer.raw[0]
        layout = "=7Q" if at == _AT_ENTRY else "=q?"
        return at, struct.unpack_from(layout, self._buffer, 24)

    def memory(self, address: int, size: int) -> bytes:
        with Path(f"/proc/{self._child}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)


def _follow(child: int, kill_after: int | None) -> Run:
    steps = _Steps(_Reader(child))
    signalled = 0
    if kill_after == 0:
        os.kill(child, signal.SIGKILL)
    while True:
        # Killed meanwhile: its end is what the next wait tells.
        with suppress(ProcessLookupError):
            _trace(_SYSCALL, child, signalled)
        try:
            _, status = os.waitpid(child, 0)
        except BaseException as error:
            # It came to nothing any more, and somebody lost patience: where it is tells why.
            error.add_note(f"process {child} after {steps.done} is at\n{_whereabouts(child)}")
            raise
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return Run(tuple(steps.done), killed=True)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the traced function failed; what it said is on standard error"
            return Run(tuple(steps.done), killed=False)
        signalled = 0 if os.WSTOPSIG(status) == _STOP_OF_SYSCALL else os.WSTOPSIG(status)
        if not signalled and steps.advance() and len(steps.done) == kill_after:
            os.kill(child, signal.SIGKILL)


def _whereabouts(process: int) -> str:
    folder = Path(f"/proc/{process}")
    files = [*folder.glob("task/*/syscall"), *folder.glob("task/*/stack")]
    return "\n".join(f"{file.relative_to(folder)}: {file.read_text()}" for file in files)


class _Steps:
    """The steps a traced process has done so far."""

    def __init__(self, reader: _Reader) -> None:
        self.done: list[str] = []
        self._reader = reader
        self._pending: str | None = None
        self._waits = 0

    def advance(self) -> bool:
        """Look at where the process has stopped; tell whether one more step is done."""
        at, told = self._reader.read()
        if at == _AT_ENTRY:
            self._pending = _name(told, self._reader)
            starts = self.done.count(_START)
            # The worker has nothing left to do but to wait for the processes it has started.
            if told[0] != _POLL or told[2] < 2 or self._waits == starts:
                return False
            self._waits, self._pending = starts, "wait for it"
        elif self._pending is None or told[0] < 0:
            return False
        self.done.append(self._pending)
        self._pending = None
        return True


def _name(entry: tuple[int, ...], reader: _Reader) -> str | None:
    """Name the step that the system call now entered would be; None when it changes nothing."""
    number, first, second, third = entry[:4]
    if number in _WRITES_FILE:
        return None if number in (1, 18, 20) and first <= 2 else _WRITES_FILE[number]
    if number in (_FORK, _VFORK) or (number == _CLONE and not first & _CLONE_THREAD):
        return _START
    if number == _CLONE3:
        flags = int.from_bytes(reader.memory(first, 8), "little")
        return None if flags & _CLONE_THREAD else _START
    if (number == _OPENAT and third & _O_CREAT) or (number == _OPEN and second & _O_CREAT):
        return "open to create"
    if number == _SENDMSG:
        return "sendmsg"
    return _name_message(reader.memory(second, 6)) if number == _SENDTO and third >= 16 else None


def _name_message(header: bytes) -> str | None:
    kind = int.from_bytes(header[4:6], "little")
    if kind < 16 or kind & 3 == 2:  # RTM_GET*
        return None
    return f"{_KINDS[kind & 3]}{_LINK_FAMILIES.get(kind & ~3, kind & ~3)}"
