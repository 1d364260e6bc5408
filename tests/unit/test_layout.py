"""The house keeps its own rules: every module has its tests, and no name shadows a library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGES = ("sriov", "cni", "deviceplugin", "offload", "dpukit")
MODULES = sorted(
    path.relative_to(TOP)
    for package in PACKAGES
    for path in (TOP / package).rglob("*.py")
    if "_pb2" not in path.name and path.name != "__init__.py"
)
LAYERS = ("unit", "netns", "contract")

# Values without a decision of their own, and the entry points, which the layers above run as programs.
WITHOUT_TESTS_OF_THEIR_OWN = {
    "sriov/version.py": "one constant",
}


def _tests_of(module: Path) -> list[Path]:
    name = f"test_{module.stem.strip('_')}.py"
    folders = [TOP / "tests" / layer / module.parent for layer in LAYERS]
    return [folder / name for folder in folders if (folder / name).exists()]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_tests_where_its_name_says(module: Path) -> None:
    if str(module) in WITHOUT_TESTS_OF_THEIR_OWN:
        return
    assert _tests_of(module), f"{module} has no tests/{{{','.join(LAYERS)}}}/{module.parent}/test_{module.stem}.py"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse((TOP / module).read_text(encoding="utf-8")))


def test_packaging_is_no_package() -> None:
    assert not (TOP / "packaging/__init__.py").exists(), "it would shadow the library of that name"
