"""The daemon's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def test_a_wrong_configuration_is_told_with_all_its_faults(tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("worker: 3\nqueue: many\n")
    said = subprocess.run(
        [sys.executable, "-m", "cni.daemon", "--check-config", "--config", str(config)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert said.returncode == 2
    assert "worker: is not a known key (did you mean 'workers'?)" in said.stderr
    assert "queue: 'many' is a text, must be an integer" in said.stderr
