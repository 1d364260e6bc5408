"""The image's script that puts the plugin onto a node: whole or not at all, and twice as good as once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parents[3] / "packaging/containers/put-on-host"
TWO_DAYS_S = 2 * 86400
MARK = "made-by-packaging-bundle"


def bundle(folder: Path, version: str) -> Path:
    python = folder / f"opt/dpukit/{version}/bin/python3"
    executable = folder / "opt/cni/bin/dpukit"
    for path in (python, executable):
        path.parent.mkdir(parents=True)
        path.write_text(version, encoding="utf-8")
        path.chmod(0o755)
    (folder / "opt/dpukit" / version / MARK).touch()
    return folder


def put(what: Path, host: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, what, host], capture_output=True, text=True, check=False)


def files(host: Path) -> dict[str, str]:
    return {
        str(path.relative_to(host)): path.read_text(encoding="utf-8")
        for path in host.rglob("*")
        if path.is_file() and path.name != MARK
    }


def test_the_plugin_and_its_interpreter_arrive(tmp_path: Path) -> None:
    host, what = tmp_path / "host", bundle(tmp_path / "v1", "1")
    for _ in range(2):
        said = put(what, host)
        assert said.returncode == 0, said.stderr
        assert files(host) == {"opt/cni/bin/dpukit": "1", "opt/dpukit/1/bin/python3": "1"}
    assert os.access(host / "opt/cni/bin/dpukit", os.X_OK)


def test_the_interpreter_of_the_version_before_stays_for_the_calls_under_way(tmp_path: Path) -> None:
    host = tmp_path / "host"
    put(bundle(tmp_path / "v1", "1"), host)
    put(bundle(tmp_path / "v2", "2"), host)
    assert files(host) == {
        "opt/cni/bin/dpukit": "2", "opt/dpukit/1/bin/python3": "1", "opt/dpukit/2/bin/python3": "2",
    }  # fmt: skip


def test_an_interpreter_goes_when_no_call_can_use_it_any_more_and_nothing_else_does(tmp_path: Path) -> None:
    host = tmp_path / "host"
    put(bundle(tmp_path / "v1", "1"), host)
    precious = host / "opt/dpukit/precious/file"
    precious.parent.mkdir()
    precious.write_text("", encoding="utf-8")
    for old in (host / "opt/dpukit/1", precious.parent):
        time = old.stat().st_mtime - TWO_DAYS_S
        os.utime(old, (time, time))
    put(bundle(tmp_path / "v2", "2"), host)
    assert files(host) == {
        "opt/cni/bin/dpukit": "2", "opt/dpukit/2/bin/python3": "2", "opt/dpukit/precious/file": "",
    }  # fmt: skip


def test_what_an_interrupted_run_left_is_made_anew(tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / "opt/dpukit/.1/bin").mkdir(parents=True)
    (host / "opt/dpukit/.1/half").touch()
    put(bundle(tmp_path / "v1", "1"), host)
    assert files(host) == {"opt/cni/bin/dpukit": "1", "opt/dpukit/1/bin/python3": "1"}


def test_a_missing_word_is_told(tmp_path: Path) -> None:
    said = subprocess.run([SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert said.returncode != 0
    assert "HOST is missing" in said.stderr
