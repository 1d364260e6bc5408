"""A file is whole, or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from sriov.durable import replace_file


def test_a_file_is_written_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", "x\n", mode=0o444)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "x\n"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_read_only_file_is_replaced_not_written_into(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"old", mode=0o444)
    with (tmp_path / "a").open("rb") as reader:
        replace_file(tmp_path / "a", b"new", mode=0o444)
        assert reader.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        replace_file(tmp_path / "a", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    replace_file(tmp_path / ("n" * 250), "x")
    assert (tmp_path / ("n" * 250)).read_bytes() == b"x"


def test_a_file_that_need_not_outlive_a_power_cut_is_replaced_whole_all_the_same(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", "old")
    with (tmp_path / "a").open("rb") as reader:
        replace_file(tmp_path / "a", "new", synced=False)
        assert reader.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_disk_that_refuses_the_draft_is_told_by_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "nowhere" / "a", "x")
