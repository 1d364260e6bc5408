"""The text of the executable: the client's own, a first line the kernel takes, the way to the library."""

from __future__ import annotations

import ast
import marshal
import re
from pathlib import Path

import pytest

import cni.client
from cni.carried import MARK
from cni.install import find_library, install, render_executable
from sriov.errors import InputError, KernelError

PYTHON = "/usr/bin/python3"


def test_the_executable_is_the_client_and_knows_its_library() -> None:
    text = render_executable(python=PYTHON, library=("/opt/a b", "/opt/'c")).decode()
    assert text.startswith("#!/usr/bin/python3 -IS\n")
    assert Path(cni.client.__file__).read_text(encoding="utf-8") in text
    assert "sys.path.extend(['/opt/a b', \"/opt/'c\"])" in text
    ast.parse(text)


def test_the_executable_that_carries_its_library_names_no_folder_of_this_installation() -> None:
    assert str(Path(cni.client.__file__).parents[1]).encode() not in render_executable(python=PYTHON)


@pytest.mark.parametrize("python", [PYTHON, "/" + "p" * 170, "/p"])
def test_the_first_line_has_the_head_read_and_the_head_the_client(python: str) -> None:
    text = render_executable(python=python)
    first = text.partition(b"\n")[0].decode()
    found = re.fullmatch(r"#!(\S+) -ISc(import sys;exec\(open\(sys\.argv\[1\],\"rb\"\)\.read\( *(\d+)\)\))", first)
    assert found is not None
    assert (found[1], len(first) < (255 if len(python) > 60 else 127)) == (python, True)
    ast.parse(found[2])
    head = text[: int(found[3])]
    ast.parse(head)
    (size, source, code) = (
        int(number) for number in re.findall(r"read\( *(\d+)\)\[-(\d+):\], file\.read\((\d+)\)", head.decode())[0]
    )
    client = text[:size][-source:].decode()
    assert client.startswith(Path(cni.client.__file__).read_text(encoding="utf-8"))
    assert size == len(head) + source
    assert marshal.loads(text[size : size + code]) == compile(client, "cni/client.py", "exec", dont_inherit=True)  # noqa: S302
    assert text[size + code :].startswith(MARK)


def test_two_executables_of_one_installation_are_equal() -> None:
    assert render_executable(python=PYTHON) == render_executable(python=PYTHON)


@pytest.mark.parametrize("python", ["/opt/with blank/python3", "/" + "x" * 250, "python3"])
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
