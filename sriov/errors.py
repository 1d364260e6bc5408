"""The errors of this repository, sorted by who must act.

DpuError            never raised itself
├─ InputError       the caller's words are wrong: correct them and send them again
│  └─ DocumentError several such faults of one document
├─ NotFoundError    the named function, link, bridge or pod does not exist
├─ BusyError        it exists and is somebody else's
├─ UnsupportedError kernel, driver or firmware cannot do this
├─ KernelError      the kernel refused; has `operation` and `errno`
├─ UnreachableError a peer program (OVSDB, kubelet, API server, daemon) does not answer
└─ VerifyError      written, read back, different

An error reads ``subject: what happened (hint)``. The hint says what to do; a text without one tells whoever reads it
all there is to know. Adapters translate foreign exceptions once, with ``raise ... from original``; nobody above them
catches `OSError` or a library's own errors.
"""

from __future__ import annotations

import errno as errno_names
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class DpuError(Exception):
    """Something a person asked for cannot be done, and this says why.

    Args:
        subject: the thing it is about, as its owner names it (a PCI address, a field's path, a file).
        what: what is wrong with it, lower case, no final period.
        hint: who must do what about it; may be empty.
    """

    def __init__(self, subject: str, what: str, *, hint: str = "") -> None:
        super().__init__(subject, what, hint)
        self.subject = subject
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        sentence = f"{self.subject}: {self.what}"
        return f"{sentence} ({self.hint})" if self.hint else sentence


class InputError(DpuError):
    """The caller's words are wrong; correct them and send them again."""


class NotFoundError(DpuError):
    """The named thing does not exist."""


class BusyError(DpuError):
    """The thing exists and is in somebody else's use; later it may be free."""


class UnsupportedError(DpuError):
    """The kernel, the driver or the firmware cannot do this; trying again does not help."""


class UnreachableError(DpuError):
    """A peer program does not answer; trying again later may help."""


class VerifyError(DpuError):
    """What was written is not what is read back."""


class KernelError(DpuError):
    """The kernel refused an operation.

    Args:
        subject: the object operated on.
        operation: what was asked of the kernel, as a phrase ("set vlan 100 of VF 3").
        errno: the kernel's error number, positive.
        hint: who must do what about it.
        said: the kernel's or driver's own words (extended ack), when there were any.
    """

    def __init__(self, subject: str, operation: str, errno: int, *, hint: str = "", said: str = "") -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        words = f"kernel refused to {operation}: {name} {os.strerror(errno)}"
        super().__init__(subject, f"{words}; it says {said!r}" if said else words, hint=hint)
        self.operation = operation
        self.errno = errno
        self.said = said

    @classmethod
    def from_oserror(cls, error: OSError, *, subject: str, operation: str, hint: str = "") -> KernelError:
        """Translate an `OSError` met while doing `operation` on `subject`."""
        return cls(subject, operation, error.errno or errno_names.EIO, hint=hint)


class DocumentError(InputError):
    """Several input errors of one document, so that its author corrects them in one go."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        first = errors[0]
        super().__init__(first.subject, first.what, hint=first.hint)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
