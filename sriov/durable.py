"""Write a file so that after a loss of power it is there whole, or as it was before.

Temporary name in the same folder, fsync, rename, fsync of the folder (man 2 rename, man 2 fsync). A reader sees the old
text or the new one, never half of it; a temporary name begins with a dot and does not outlive a failed write.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, text: str | bytes, *, mode: int = 0o600) -> None:
    """Let the file at `path` hold `text`; its folder must be there.

    Args:
        path: where.
        text: what; a text is written as UTF-8.
        mode: the file's permissions.

    Raises:
        OSError: the disk refused; the caller knows what was to be written and tells it.
    """
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(fresh).unlink()
        raise
    sync_folder(path.parent)


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
