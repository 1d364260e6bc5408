"""Installing the executable: what it takes with it, what it is tried with, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cni.carried import MARK
from tests.netns.cni.conftest import Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]

TOP = Path(__file__).parents[3]
PYTHON = os.path.realpath(sys.executable)


def installed(*options: str, library: Path = TOP) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "cni.install", *options]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=library)


def other_pythons() -> dict[str, str]:
    """Interpreters of other versions on this machine, by version; there may be none."""
    found = {}
    for minor in {9, 10, 11, 12, 13, 14} - {sys.version_info.minor}:
        name = f"python3.{minor}"
        places = [*Path.home().glob(f".pyenv/versions/3.{minor}.*/bin"), Path("/usr/bin"), Path("/usr/local/bin")]
        if path := next((place / name for place in places if (place / name).exists()), None):
            found[f"3.{minor}"] = str(path)
    return found


def a_life_with(node: Node, executable: Path) -> None:
    """Let an executable ADD and DEL in its own process, far from this installation."""
    before, pod = node.vf_link(), node.pod()
    node.executable = executable
    said = node.call("ADD", node.config(ipam=True), netns=pod.path)
    assert said.status == 0, said
    assert "net1" in pod.links()
    assert node.call("DEL", node.config(ipam=True), netns=pod.path).status == 0
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_the_executable_works_when_the_installation_is_gone(idle_node: Node, tmp_path: Path) -> None:
    library = tmp_path / "library"
    for package in ("cni", "sriov"):
        shutil.copytree(TOP / package, library / package, ignore=shutil.ignore_patterns("__pycache__"))
    said = installed("--destination", str(tmp_path / "opt"), "--python", PYTHON, library=library)
    assert said.returncode == 0, said.stderr
    shutil.rmtree(library)
    path = Path(said.stdout.strip())
    assert [entry.name for entry in path.parent.iterdir()] == ["dpukit"]
    a_life_with(idle_node, path)


def test_a_call_that_the_daemon_answers_imports_three_modules_and_reads_no_library(
    idle_node: Node, tmp_path: Path
) -> None:
    assert installed("--destination", str(tmp_path / "opt")).returncode == 0
    executable = tmp_path / "opt/dpukit"
    first, _, rest = executable.read_bytes().partition(b"\n")
    start = first.decode().partition(" -ISc")[2]
    # Whatever stands behind the byte code is not looked at: there may be no library at all.
    executable.write_bytes(first + b"\n" + rest[: rest.rindex(MARK)])
    idle_node.start_daemon()
    environment = idle_node.environment() | {"CNI_COMMAND": "STATUS", "CNI_PATH": "/usr/lib/cni"}
    stdin = json.dumps(idle_node.config() | {"cniVersion": "1.1.0"})
    words = [PYTHON, "-I", "-S", "-X", "importtime", "-c"]
    called = subprocess.run(
        [*words, start, executable], env=environment, input=stdin, capture_output=True, text=True, check=True
    )
    expected = subprocess.run([*words, "import os, sys, _socket"], env={}, capture_output=True, text=True, check=True)
    assert imported(called.stderr) == imported(expected.stderr)


def imported(log: str) -> set[str]:
    """Read what ``-X importtime`` tells."""
    return {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}


def test_an_interpreter_of_another_version_compiles_what_is_carried(idle_node: Node, tmp_path: Path) -> None:
    """The node's Python was upgraded under the plugin."""
    others = [path for version, path in other_pythons().items() if version not in ("3.9", "3.10")]
    if not others:
        pytest.skip("there is no second Python ≥ 3.11 here")
    said = installed("--destination", str(tmp_path / "opt"), "--python", others[-1])
    assert said.returncode == 0, said.stderr
    a_life_with(idle_node, tmp_path / "opt/dpukit")


def test_a_root_is_where_the_nodes_folders_are_now(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    python = tmp_path / "usr/bin/python3"
    python.write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    said = installed("--root", str(tmp_path), "--python", "/usr/bin/python3")
    assert (said.returncode, said.stdout.strip()) == (0, str(tmp_path / "opt/cni/bin/dpukit")), said.stderr
    assert (tmp_path / "opt/cni/bin/dpukit").read_bytes().startswith(b"#!/usr/bin/python3 -ISc")


def refusal(tmp_path: Path, python: str) -> str:
    said = installed("--destination", str(tmp_path / "opt"), "--python", python)
    assert said.returncode != 0
    assert not (tmp_path / "opt").exists()
    return said.stderr.splitlines()[-1]


def test_an_interpreter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "'/nowhere/python3' does not run" in refusal(tmp_path, "/nowhere/python3")


def test_an_interpreter_that_is_too_old_is_refused(tmp_path: Path) -> None:
    old = [path for version, path in other_pythons().items() if version in ("3.9", "3.10")]
    if not old:
        pytest.skip("there is no Python < 3.11 here")
    assert "at least 3.11 is needed" in refusal(tmp_path, old[0])


def test_an_interpreter_without_its_whole_library_is_refused(tmp_path: Path) -> None:
    """As Debian's python3-minimal."""
    python = tmp_path / "python3"
    hide = "import sys; sys.modules['ipaddress'] = None"
    # Started to tell its version: -I -S -c ...; to run the executable: -ISc... and its path.
    script = f'case "$1" in -I) exec {PYTHON} "$@";; esac\nexec {PYTHON} -ISc "{hide}; ${{1#-ISc}}" "$2"\n'
    python.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
    python.chmod(0o755)
    assert "its standard library may be incomplete" in refusal(tmp_path, str(python))


def test_a_running_executable_is_replaced(tmp_path: Path) -> None:
    destination = ("--destination", str(tmp_path / "opt"))
    assert installed(*destination).returncode == 0
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "DPUKIT_STATE": str(tmp_path)}
    with subprocess.Popen(
        [tmp_path / "opt/dpukit"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        assert installed(*destination).returncode == 0
        text, _ = one.communicate(b"{")
    assert json.loads(text)["code"] == 4
