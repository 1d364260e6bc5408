"""Write a file so that whoever reads it, and after a loss of power the disk, has it whole, or as it was before.

Temporary name in the same folder, fsync, rename, fsync of the folder (man 2 rename, man 2 fsync). A reader sees the old
text or the new one, never half of it; a temporary name begins with a dot and does not outlive a failed write.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, text: str | bytes, *, mode: int = 0o600, synced: bool = True) -> None:
    """Let the file at `path` hold `text`; its folder must be there.

    Args:
        path: where.
        text: what; a text is written as UTF-8.
        mode: the file's permissions.
        synced: whether it must outlive a loss of power. Without it the file outlives whatever happens to this process,
            and after a loss of power there may be the old file, none, or an empty one.

    Raises:
        OSError: the disk refused; the caller knows what was to be written and tells it.
    """
    # Not tempfile, whose import takes longer than the write.
    fresh = path.with_name(f"{draft_prefix(path)}{os.urandom(6).hex()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fchmod(descriptor, mode)
            if synced:
                os.fsync(descriptor)
        fresh.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            fresh.unlink()
        raise
    if synced:
        sync_folder(path.parent)


def draft_prefix(path: Path) -> str:
    """Return how the names begin under which a file for `path` is written first; of a killed writer one may be left."""
    return f".{path.name[:40]}."


def sync_folder(folder: Path) -> None:
    """Have the disk know which names are in `folder`.

    Raises:
        OSError: the disk refused.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
