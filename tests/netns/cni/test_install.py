"""Installing the executable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def test_installing_writes_one_file_that_runs(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "cni.install", "--destination", str(tmp_path / "bin")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    path = Path(said.stdout.strip())
    assert [entry.name for entry in path.parent.iterdir()] == ["dpukit"]
    said = subprocess.run([path], capture_output=True, text=True, check=True, env={"CNI_COMMAND": "VERSION"})
    assert json.loads(said.stdout)["cniVersion"] == "1.1.0"
