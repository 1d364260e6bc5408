"""The text of the executable: the client's own, a first line the kernel takes, the way to the library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cni.client
from cni.install import find_library, install, render_executable
from sriov.errors import InputError, KernelError

PYTHON = "/usr/bin/python3"


def test_the_executable_is_the_client_and_knows_its_library() -> None:
    text = render_executable(python=PYTHON, library=("/opt/a b", "/opt/'c")).decode()
    assert text.startswith("#!/usr/bin/python3 -IS\n")
    assert Path(cni.client.__file__).read_text(encoding="utf-8") in text
    assert "sys.path.extend(['/opt/a b', \"/opt/'c\"])" in text
    ast.parse(text)


@pytest.mark.parametrize("python", ["/opt/with blank/python3", "/" + "x" * 130])
def test_an_interpreter_that_fits_no_first_line_is_refused(python: str) -> None:
    with pytest.raises(InputError, match="does not fit a script's first line"):
        render_executable(python=python, library=())


def test_the_library_is_where_the_running_code_is() -> None:
    assert find_library()[0] == str(Path(cni.client.__file__).parents[1])


def test_an_installed_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    old = install(tmp_path / "bin", name="dpukit", text=b"old")
    inode = old.stat().st_ino
    new = install(tmp_path / "bin", name="dpukit", text=b"new")
    assert (new.read_bytes(), new.stat().st_mode & 0o777, new.stat().st_ino != inode) == (b"new", 0o755, True)
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["dpukit"]


def test_a_destination_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "bin").touch()
    with pytest.raises(KernelError, match="kernel refused to write it"):
        install(tmp_path / "bin", name="dpukit", text=b"")
