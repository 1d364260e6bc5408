"""A network's own log file: this call's words from its level on, in addition to the program's own log."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from cni.logfile import log_also

logger = logging.getLogger("cni.somewhere")


def test_what_the_call_logs_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with log_also({"LogFile": str(path), "LOGLEVEL": "Warning"}):
        logger.warning("one")
        logger.info("two")
        another = threading.Thread(target=logger.warning, args=("of another call",))
        another.start()
        another.join()
    logger.warning("afterwards")
    assert path.read_text().splitlines()[0].endswith("WARNING cni.somewhere: one")
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("document", [{}, {"logFile": ""}, {"logFile": 5}, {"logLevel": "debug"}])
def test_no_file_is_no_other_log(document: dict[str, object]) -> None:
    before = list(logging.getLogger().handlers)
    with log_also(document):
        assert logging.getLogger().handlers == before


def test_nobodys_pipe_holds_a_call_up_and_no_link_leads_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("pipe", "link"):
        with log_also({"logFile": str(tmp_path / name)}):
            logger.warning("here all the same")
    assert [record.message for record in caplog.records].count("cannot write the network's log file") == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["none/x.log", "\0", "."])
def test_a_file_that_cannot_be_written_is_told_and_the_call_goes_on(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with log_also({"logFile": str(tmp_path / name)}):
        logger.warning("here all the same")
    assert [record.message for record in caplog.records] == [
        "cannot write the network's log file", "here all the same",
    ]  # fmt: skip
