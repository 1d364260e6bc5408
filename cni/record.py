"""Remember what ADD took and from where, on disk, before it takes it; and let one call at a time touch a VF.

Below the state folder: ``attachments/<container>-<ifname>.json`` one record each, written to a temporary name, synced and
renamed, then the folder synced; ``vfs/<PCI address>`` a link to the record of the VF's owner; ``locks/<PCI address>`` the
file whose flock guards the VF. The link is made before the record, so that one leading nowhere means "free", and removed
as soon as the VF is restored: what is left of the attachment then is its addresses. The link need not outlive a power cut,
for then the VF itself has forgotten everything. Whoever writes holds a shared flock on ``attachments``; when nobody does,
temporary names and links that lead nowhere are of writers that died (`Records.sweep`). Readable by root only: a record
holds the network configuration.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cni.attachment import Record, parse_record, render_record
from cni.request import AttachmentId
from cni.result import RecordError
from sriov.durable import draft_prefix, replace_file, sync_folder
from sriov.errors import BusyError, InputError, KernelError
from sriov.model import PciAddress

LOCK_TIMEOUT_S = 60

_PLAIN_IFNAME = re.compile(r"[A-Za-z0-9_.]{1,15}")
_PLAIN_LENGTH_MAX = 200
_RECORD_SIZE = 4096
"""What a record takes at least on most disks."""


class Records:
    """The records below one state folder; daemon and in-process client share them.

    Args:
        root: the state folder; made when needed.
    """

    def __init__(self, root: Path) -> None:
        self._attachments = root / "attachments"
        self._vfs = root / "vfs"
        self._locks = root / "locks"
        self._held: dict[PciAddress, int] = {}

    def find(self, attachment: AttachmentId) -> Record | None:
        """Return the record of an attachment.

        Raises:
            RecordError: there is one that cannot be understood; it stays where it is.
        """
        return self._find(self._attachments / _file_name(attachment))

    def find_owner(self, vf: PciAddress) -> Record | None:
        """Return the record of the attachment that has the VF.

        Raises:
            RecordError: there is one that cannot be understood.
        """
        record = self._find(self._vfs / str(vf))
        return record if record is not None and record.vf == vf else None

    def is_owner(self, record: Record) -> bool:
        """Tell whether the attachment has its VF still; the record itself is not looked at, which makes this cheap."""
        return _leads_to(self._vfs / str(record.vf), self._attachments / _file_name(record.attachment))

    def read_all(self) -> tuple[Record | RecordError, ...]:
        """Read every record; an error stands for each that cannot be understood."""
        found: list[Record | RecordError] = []
        for path in sorted(self._attachments.glob("[!.]*.json")):
            try:
                record = self._find(path)
            except RecordError as error:
                found.append(error)
            else:
                found.extend([record] if record is not None else [])
        return tuple(found)

    def write(self, record: Record) -> None:
        """Write a record so that it is there whole, or not at all, whatever happens.

        Raises:
            KernelError: the disk refused.
        """
        path = self._attachments / _file_name(record.attachment)
        self.prepare()
        with _told(path, "write the record"), _flocked(self._attachments, fcntl.LOCK_SH):
            self._point_at(record.vf, path)
            replace_file(path, render_record(record))

    def disown(self, record: Record) -> None:
        """Note that an attachment has its VF no longer, because that is restored; the record stays.

        Raises:
            KernelError: the disk refused.
        """
        path = self._attachments / _file_name(record.attachment)
        index = self._vfs / str(record.vf)
        with _told(index, "remove it"):
            if _leads_to(index, path):
                index.unlink()

    def remove(self, record: Record) -> None:
        """Forget an attachment. Whoever calls this has restored its VF, or knows that it is not the owner.

        Raises:
            KernelError: the disk refused.
        """
        path = self._attachments / _file_name(record.attachment)
        with _told(path, "remove the record"):
            path.unlink(missing_ok=True)
            sync_folder(self._attachments)
        # What else there may be of this one; looking through all the others' is the daemon's.
        drafts = [draft for draft in self._attachments.iterdir() if draft.name.startswith(draft_prefix(path))]
        self._remove_drafts([self._vfs / f".{record.vf}", *drafts])

    def sweep(self) -> None:
        """Remove what writers that died have left half done; nothing while somebody writes.

        Raises:
            KernelError: the disk refused.
        """
        if self._attachments.exists():
            self._remove_drafts([*self._attachments.glob(".*"), *self._vfs.iterdir()])

    def _remove_drafts(self, paths: Iterable[Path]) -> None:
        """Remove those of these that are drafts, or lead nowhere."""
        exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
        with (
            _told(self._attachments, "remove drafts"),
            suppress(BlockingIOError),
            _flocked(self._attachments, exclusive),
        ):
            for path in paths:
                if path.name.startswith(".") or not path.exists():
                    path.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            KernelError: the disk refused.
        """
        with _told(self._attachments, "make the state folder"):
            for folder in (self._attachments, self._vfs, self._locks):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def check_writable(self) -> None:
        """Make sure that a record could be written.

        Raises:
            KernelError: it could not.
        """
        import tempfile  # for STATUS only: it brings along every compression there is

        self.prepare()
        with (
            _told(self._attachments, "write there"),
            _flocked(self._attachments, fcntl.LOCK_SH),
            tempfile.TemporaryFile(dir=self._attachments, prefix=".") as draft,
        ):
            # An empty file would fit on a full disk, too.
            draft.write(bytes(_RECORD_SIZE))
            draft.flush()

    @contextmanager
    def lock(self, vf: PciAddress, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold the VF's lock; the kernel gives it back when the process ends, and those that inherited `find_lock`'s.

        Raises:
            BusyError: somebody else held it for `timeout_s` seconds.
            KernelError: the disk refused.
        """
        path = self._locks / str(vf)
        self.prepare()
        with _told(path, "open the lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _lock(descriptor, vf, timeout_s)
        self._held[vf] = descriptor
        try:
            yield
        finally:
            del self._held[vf]
            os.close(descriptor)

    def find_lock(self, vf: PciAddress) -> int | None:
        """Return the descriptor of the VF's lock, for whoever holds it: a program that inherits it holds it as well."""
        return self._held.get(vf)

    def _find(self, path: Path) -> Record | None:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KernelError.from_oserror(error, subject=str(path), operation="read the record") from error
        try:
            return parse_record(text)
        except InputError as error:
            raise RecordError(
                f"record {path.resolve()}",
                f"cannot be understood: {error}",
                hint="look at it; remove it once its VF is at home",
            ) from error

    def _point_at(self, vf: PciAddress, path: Path) -> None:
        index = self._vfs / str(vf)
        if _leads_to(index, path):
            return
        # The VF's lock is held: nobody else makes this name.
        fresh = self._vfs / f".{vf}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"../{path.parent.name}/{path.name}")
        fresh.replace(index)


@contextmanager
def _flocked(folder: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _leads_to(index: Path, path: Path) -> bool:
    try:
        return Path(os.readlink(index)).name == path.name
    except FileNotFoundError:
        return False


def _lock(descriptor: int, vf: PciAddress, timeout_s: float) -> None:
    """Take the flock; after `timeout_s` give up, and close `descriptor`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if timeout_s <= 0:
            os.close(descriptor)
            raise BusyError(f"VF {vf}", "another call works on it", hint="try again later") from None
    else:
        return
    # flock has no timeout of its own: a thread waits for it, and is left alone when that takes too long.
    verdict = threading.Lock()
    abandoned = taken = False

    def wait() -> None:
        nonlocal taken
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with verdict:
            taken = True
            if abandoned:
                os.close(descriptor)

    thread = threading.Thread(target=wait, name=f"lock-{vf}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    with verdict:
        abandoned = not taken
    if abandoned:
        raise BusyError(f"VF {vf}", f"another call has worked on it for {timeout_s:g} s", hint="try again later")


def _file_name(attachment: AttachmentId) -> str:
    """Name the file of an attachment: readable where that is unambiguous and short, else with a hash for the rest."""
    plain = str(attachment)
    if _PLAIN_IFNAME.fullmatch(attachment.ifname) and len(plain) <= _PLAIN_LENGTH_MAX:
        return f"{plain}.json"
    import hashlib  # for strange names only

    both = f"{attachment.container}/{attachment.ifname}".encode()
    # Longer than any interface name, so that the two forms cannot meet.
    return f"{attachment.container[:100]}-{hashlib.sha256(both).hexdigest()[:40]}.json"


_HINTS = {
    errno.EROFS: "nothing is attached without a record: make the state folder writable",
    errno.ENOSPC: "nothing is attached without a record: make room",
    errno.EDQUOT: "nothing is attached without a record: make room",
    errno.EACCES: "run as root",
}


@contextmanager
def _told(path: Path, operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        raise KernelError.from_oserror(error, subject=str(path), operation=operation, hint=hint) from error
