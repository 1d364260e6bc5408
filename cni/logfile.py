"""Log one call also where its network configuration says: ``logFile``, from ``logLevel`` on.

What is written there is what this thread logs while the call lasts; the program's own log has it all the same. A file
that cannot be written is told in that log, and is no reason to refuse a pod.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO

from sriov.log import TextFormatter, fields

logger = logging.getLogger(__name__)

_LEVELS = {
    "panic": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


@contextmanager
def log_also(document: Mapping[str, object]) -> Iterator[None]:
    """Log what happens in the block, in this thread, to the file that a network configuration names; if it names one.

    Args:
        document: the configuration as it came; what is wrong with these keys is for ADD to refuse.
    """
    named = {key.lower(): value for key, value in document.items()}
    path, level = named.get("logfile"), named.get("loglevel")
    file = _open(path) if path and isinstance(path, str) else None
    if file is None:
        yield
        return
    handler = logging.StreamHandler(file)
    thread = threading.get_ident()
    handler.addFilter(lambda record: record.thread == thread)
    handler.setLevel(_LEVELS.get(level.lower(), logging.INFO) if isinstance(level, str) else logging.INFO)
    handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with suppress(OSError):
            # A disk may be full: what is buffered is lost then.
            file.close()


def _open(path: str) -> TextIO | None:
    try:
        # A network's author names this file: no pipe may hold us up, and no link may lead root elsewhere.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "a", encoding="utf-8")
        os.close(descriptor)
        reason: object = "it is no regular file"
    except (OSError, ValueError) as error:
        reason = error
    logger.warning("cannot write the network's log file", extra=fields(file=path, reason=reason))
    return None
