"""What the executable carries: the modules a call may import, all of them and no other, byte code for one interpreter, source for all."""

from __future__ import annotations

import marshal
import traceback
import zlib
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cni.carried
from cni.carried import MARK, Carried, CarriedModules, imported_names, pack, read_modules, unpack

TOP = Path(cni.carried.__file__).parents[1]
SOURCES = {
    "a/__init__.py": '"""Nothing."""\n',
    "a/first.py": '"""Doc."""\n\n\ndef late():\n    "doc"\n    from a import second\n    return second.answer()\n',
    "a/second.py": "import os\n\nimport a.part.third\n\n\ndef answer():\n    # why\n    return a.part.third.X // 0\n",
    "a/part/__init__.py": "",
    "a/part/third.py": "from . import sibling\nX = 42\n",
    "a/unused.py": "import nothing.of.ours\n",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, source in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    return tmp_path


def loaded(modules: CarriedModules, name: str) -> ModuleType:
    module = ModuleType(name)
    modules.exec_module(module)
    return module


def test_what_may_be_imported_however_late_is_carried_and_nothing_else(library: Path) -> None:
    found = read_modules(library, "a.first")
    assert sorted(found) == ["a", "a.first", "a.part", "a.part.third", "a.second"]
    assert {name for name, module in found.items() if module.is_package} == {"a", "a.part"}


def test_what_was_packed_is_unpacked(library: Path) -> None:
    modules = unpack(b"#!/usr/bin/python3\n\0anything\n" + pack(library, "a.first"))
    spec = modules.find_spec("a.part")
    assert spec is not None
    assert (spec.origin, spec.submodule_search_locations, spec.loader) == ("a/part/__init__.py", [], modules)
    assert modules.find_spec("a.unused") is None
    assert modules.find_spec("os") is None


def test_an_executable_without_a_pack_is_told() -> None:
    with pytest.raises(ValueError, match="not found"):
        unpack(b"nothing")


def test_a_traceback_names_file_and_line_as_they_are_in_the_source(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(
        '"""Doc."""\n\n# Why.\ndef fail(x):\n    "doc"\n    return x / 0\n', encoding="utf-8"
    )
    module = loaded(unpack(pack(tmp_path, "b")), "b")
    with pytest.raises(ZeroDivisionError) as caught:
        module.fail(1)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.name) == ("b.py", 6, "fail")
    assert module.fail.__doc__ is None


def test_another_interpreter_compiles_the_source(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("X = 6 * 7\n", encoding="utf-8")
    text = pack(tmp_path, "b")
    own = unpack(text)
    assert loaded(own, "b").X == 42
    # Byte code of another magic number is not even looked at.
    other = CarriedModules({"b": Carried("b.py", is_package=False, source="X = 43\n", code=b"\xff")}, b"\0\0\r\n")
    assert loaded(other, "b").X == 43


def test_an_empty_body_stays_valid(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(
        'class E(Exception):\n    """Doc."""\n\n\ndef f():\n    """Doc."""\n', encoding="utf-8"
    )
    module = loaded(unpack(pack(tmp_path, "b")), "b")
    assert module.f() is None
    assert issubclass(module.E, Exception)


def test_the_real_pack_holds_the_whole_way_of_a_call_and_no_command_line() -> None:
    names = set(read_modules(TOP, "cni.__main__", "cni.carried"))
    assert {"cni.perform", "cni.restore", "sriov.kernel.link", "cni.carried", "sriov.log"} <= names
    assert not names & {"cni.daemon", "cni.daemon.server", "cni.install", "cni.cli", "sriov.program"}


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5})?", fullmatch=True), st.booleans()), max_size=5))
def test_every_form_of_import_is_seen(names: list[tuple[str, bool]]) -> None:
    lines = [f"from {name} import thing" if whole else f"import {name}" for name, whole in names]
    source = "def f():\n    pass\n" + "".join(f"    {line}\n" for line in lines)
    try:
        compile(source, "x", "exec")
    except SyntaxError:
        return  # a keyword
    found = set(imported_names(source))
    assert {name for name, _ in names} <= found
    assert {f"{name}.thing" for name, whole in names if whole} <= found


def test_the_pack_is_what_the_executable_takes_apart_itself(library: Path) -> None:
    """The executable reads one source out of the pack without this module: mark, zlib, marshal, position."""
    text = b"code with the mark in it" + MARK + b"more" + pack(library, "a.first")
    magic, modules = marshal.loads(zlib.decompress(text[text.rindex(MARK) + len(MARK) :]))  # noqa: S302
    assert isinstance(magic, bytes)
    assert modules["a.part.third"][2].splitlines()[-1] == "X = 42"
    assert unpack(text).find_spec("a.second") is not None
