"""The guard itself: what it forbids, it forbids."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_socket_is_refused() -> None:
    with pytest.raises(AssertionError, match="socket"):
        socket.socket(socket.AF_UNIX)


def test_a_process_is_refused() -> None:
    with pytest.raises(AssertionError, match="Popen"):
        subprocess.run([sys.executable, "-V"], check=False)


def test_sysfs_is_refused() -> None:
    with pytest.raises(AssertionError, match="/sys/class"):
        Path("/sys/class/net/lo/address").read_text(encoding="ascii")


def test_a_temporary_file_is_fine(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("x", encoding="ascii")
    assert (tmp_path / "note").read_text(encoding="ascii") == "x"
