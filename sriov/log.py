"""One log format for every program: a sentence, then ``key=value`` pairs; or one JSON object per line.

Only a program's ``__main__`` calls `configure`; everything else says ``logging.getLogger(__name__)`` and passes its
pairs as ``extra={"fields": {...}}`` through `fields`.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO


def fields(**pairs: object) -> dict[str, dict[str, object]]:
    """Make the `extra` argument of a log call: ``logger.info("plugged", extra=fields(pod=pod))``."""
    return {"fields": pairs}


def _pairs(record: logging.LogRecord) -> dict[str, object]:
    found = getattr(record, "fields", {})
    return found if isinstance(found, dict) else {}


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n\t') else text


class TextFormatter(logging.Formatter):
    """``time level logger: message key=value ...``."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record as one line (a traceback follows on lines of its own)."""
        line = super().format(record)
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in _pairs(record).items())
        first, newline, rest = line.partition("\n")
        return f"{first} {pairs}{newline}{rest}" if pairs else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line, the pairs as its own keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record as one line."""
        said: dict[str, object] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said.update(_pairs(record))
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str, ensure_ascii=False)


def configure(*, style: str = "text", level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Set the process' logging up; for ``__main__`` modules only.

    Args:
        style: ``text`` or ``json``.
        level: the least level that is written.
        stream: where to; standard error when None. Never standard output, which belongs to the program's answer.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        JsonFormatter() if style == "json" else TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
