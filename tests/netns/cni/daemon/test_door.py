"""The socket's name: who has it, from when, until when."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from cni.daemon.door import open_door
from sriov.errors import KernelError

pytestmark = pytest.mark.netns


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def test_the_socket_is_roots_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run/node.sock"
    with open_door(path) as door:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert door.is_ours
        connect(path).close()
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("kind", ["socket", "file", "dangling link"])
def test_what_a_dead_daemon_or_anybody_left_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "node.sock"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif kind == "file":
        path.write_text("x")
    else:
        path.symlink_to("nowhere")
    with open_door(path):
        connect(path).close()
    assert not path.exists()


def test_a_second_daemon_takes_over_and_the_first_notices_and_leaves_the_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    with open_door(path) as first:
        first.watch.drain()
        with open_door(path) as second:
            assert first.watch.drain()
            assert (first.is_ours, second.is_ours, first.is_nobodys) == (False, True, False)
            first.shut()
            connect(path).close()
        assert first.is_nobodys


def test_who_has_come_before_it_is_shut_can_be_taken_in_and_nobody_comes_after(tmp_path: Path) -> None:
    with open_door(tmp_path / "node.sock") as door:
        (tmp_path / "other-name").hardlink_to(door.path)
        with connect(door.path) as early:
            door.shut()
            with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
                late.connect(str(tmp_path / "other-name"))
            accepted, _ = door.listener.accept()
            with accepted:
                accepted.sendall(b"x")
            assert early.recv(2) == b"x"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(KernelError, match="make the socket"), open_door(tmp_path / "run/node.sock"):
        pass
