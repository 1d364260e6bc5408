"""The library that the executable carries: packed when it is written, imported from memory when the daemon does not answer.

The pack stands behind the executable's text, where no start reads it. It holds what a call in the executable's own process may
import, each module as its source and as the byte code of the interpreter that packed it; another interpreter compiles the
source, which is slower and no different. Docstrings, comments and columns are left out (in tracebacks of another interpreter lines
are counted without them). Nothing here imports dpukit: the executable runs this file's source before it can.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
import sys
import zlib
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

MARK = b"\n# The library, packed:\n"
"""Stands before the pack. An executable that was replaced under a call finds the pack of the new one by it."""


class Carried(NamedTuple):
    """One module."""

    path: str
    """Where its source is, as tracebacks name it: relative to the library's folder."""
    is_package: bool
    source: str
    code: bytes
    """Its byte code, by marshal; understood by interpreters of the pack's own magic number only."""


class CarriedModules:
    """Finds and loads what a pack holds (PEP 302, PEP 451).

    Args:
        modules: each by its full name.
        magic: the byte code's magic number (PEP 3147).
    """

    def __init__(self, modules: Mapping[str, Carried], magic: bytes) -> None:
        self._modules, self._is_understood = modules, magic == importlib.util.MAGIC_NUMBER

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Find a module; None when it is none of these."""
        del path, target
        found = self._modules.get(name)
        return found and ModuleSpec(name, self, origin=found.path, is_package=found.is_package)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""
        del spec

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code in it."""
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 (that is what loading is)

    def get_code(self, name: str) -> CodeType:
        """Return the code of a module."""
        found = self._modules[name]
        if not self._is_understood:
            return compile_module(found.source, found.path)
        code: CodeType = marshal.loads(found.code)  # noqa: S302 (our own)
        return code


def pack(folder: Path, *entries: str) -> bytes:
    """Render, the mark first, modules in `folder` and all that they may import there, however late.

    Args:
        folder: where the library is.
        entries: the full names of modules in it.

    Raises:
        OSError: a module cannot be read.
    """
    found = {name: tuple(_shrunk(module)) for name, module in read_modules(folder, *entries).items()}
    return MARK + zlib.compress(marshal.dumps((importlib.util.MAGIC_NUMBER, found)), 9)


def unpack(text: bytes) -> CarriedModules:
    """Return the modules that an executable of this text carries.

    Raises:
        ValueError: it carries none.
    """
    magic, modules = marshal.loads(zlib.decompress(text[text.rindex(MARK) + len(MARK) :]))  # noqa: S302 (our own)
    return CarriedModules({name: Carried(*module) for name, module in modules.items()}, magic)


def install(text: bytes) -> None:
    """Let this process import what an executable of this text carries, before anything of those names elsewhere."""
    sys.meta_path.insert(0, unpack(text))


def read_modules(folder: Path, *entries: str) -> dict[str, Carried]:
    """Read modules and every module in `folder` that they may import, with their packages. No byte code yet.

    Raises:
        OSError: a module cannot be read.
    """
    found: dict[str, Carried] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            part = ".".join(parts[:length])
            if part not in found and (module := _find(folder, part)):
                found[part] = module
                waiting += imported_names(module.source)
    return found


def compile_module(source: str | ast.Module, path: str) -> CodeType:
    """Compile a module, as an import would."""
    code: CodeType = compile(source, path, "exec", dont_inherit=True)
    return code


def imported_names(source: str) -> Iterator[str]:
    """Name what a source imports anywhere in it: modules, and what it takes from them, which may be modules too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _find(folder: Path, name: str) -> Carried | None:
    path = Path(*name.split("."))
    for file, is_package in ((path / "__init__.py", True), (path.with_suffix(".py"), False)):
        if (folder / file).is_file():
            return Carried(str(file), is_package, (folder / file).read_text(encoding="utf-8"), b"")
    return None


def _shrunk(module: Carried) -> Carried:
    """Leave out what nobody executes, and compile: columns stay out of the byte code by being all the same."""
    tree = ast.parse(module.source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_docstring(one)] or [ast.Pass(lineno=1, col_offset=0)]
        if isinstance(node, ast.stmt | ast.expr):
            node.col_offset, node.end_col_offset, node.end_lineno = 0, 0, node.lineno
    return module._replace(source=ast.unparse(tree), code=marshal.dumps(compile_module(tree, module.path)))


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
