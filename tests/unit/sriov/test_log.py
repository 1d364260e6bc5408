"""Lines that people and programs can read."""

from __future__ import annotations

import io
import json
import logging

import pytest

from sriov import log


@pytest.fixture
def restored_root() -> object:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield None
    root.handlers[:], root.level = before, level


@pytest.mark.usefixtures("restored_root")
def test_text_lines_carry_their_pairs() -> None:
    stream = io.StringIO()
    log.configure(stream=stream)
    logging.getLogger("cni").info("call done", extra=log.fields(verb="ADD", vf="0000:01:10.0", why="two words"))
    assert 'INFO cni: call done verb=ADD vf=0000:01:10.0 why="two words"' in stream.getvalue()


@pytest.mark.usefixtures("restored_root")
def test_json_lines_are_objects() -> None:
    stream = io.StringIO()
    log.configure(style="json", stream=stream)
    logging.getLogger("cni").warning("call %s", "done", extra=log.fields(verb="ADD"))
    line = json.loads(stream.getvalue())
    assert (line["message"], line["verb"], line["level"]) == ("call done", "ADD", "warning")


@pytest.mark.usefixtures("restored_root")
@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_is_kept(style: str) -> None:
    stream = io.StringIO()
    log.configure(style=style, stream=stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("x").exception("broke", extra=log.fields(a=1))
    assert "ZeroDivisionError" in stream.getvalue()
    assert "a=1" in stream.getvalue() or '"a": 1' in stream.getvalue()
