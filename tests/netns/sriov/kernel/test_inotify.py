"""A folder's entries come and go, and it is heard of."""

from __future__ import annotations

from pathlib import Path

import pytest

from sriov.errors import KernelError
from sriov.kernel.inotify import open_folder_watch

pytestmark = pytest.mark.netns


def test_entries_that_come_go_and_move_are_heard_of(tmp_path: Path) -> None:
    with open_folder_watch(tmp_path) as watch:
        assert not watch.drain()
        (tmp_path / "a").write_text("")
        assert watch.drain()
        (tmp_path / "a").rename(tmp_path / "b")
        assert watch.drain()
        (tmp_path / "b").unlink()
        assert watch.drain()
        assert not watch.drain()


@pytest.mark.parametrize("name", ["absent", "file"])
def test_what_is_no_folder_cannot_be_watched(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KernelError, match="watch it"), open_folder_watch(tmp_path / name):
        raise AssertionError("watched")
