from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from offload.agent.watch import StateFile
from sriov.errors import InputError
from tests.unit.offload.test_desired import DOCUMENT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "state.yaml"
    found.write_text(yaml.safe_dump(DOCUMENT))
    return found


def test_a_version_is_new_until_it_is_read(path: Path) -> None:
    state_file = StateFile(path)
    assert state_file.has_changed()
    assert state_file.read().node == "host0"
    assert not state_file.has_changed()


def test_a_replaced_and_a_rewritten_file_are_new_versions(path: Path) -> None:
    state_file = StateFile(path)
    state_file.read()
    other = path.with_suffix(".new")
    other.write_text(yaml.safe_dump({**DOCUMENT, "node": "host1"}))
    other.rename(path)
    assert state_file.has_changed()
    assert state_file.read().node == "host1"
    path.write_text(yaml.safe_dump({**DOCUMENT, "node": "host2"}))
    os.utime(path, ns=(1, 1))
    assert state_file.has_changed()


def test_a_broken_version_is_told_once_and_a_missing_file_is_no_new_version(path: Path) -> None:
    state_file = StateFile(path)
    path.write_text("a: [")
    with pytest.raises(InputError, match="is not YAML"):
        state_file.read()
    assert not state_file.has_changed()
    path.unlink()
    assert not state_file.has_changed()
    with pytest.raises(InputError, match="cannot read it: No such file"):
        state_file.read()
