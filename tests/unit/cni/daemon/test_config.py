"""The daemon's configuration: defaults, bounds, unknown keys."""

from __future__ import annotations

import pytest

from cni.daemon.config import Config
from sriov.errors import DocumentError, InputError


def test_an_empty_file_is_all_defaults() -> None:
    assert Config.parse(None, source="x") == Config.parse({}, source="x") == Config(32, 256)


def test_values_are_read() -> None:
    assert Config.parse({"workers": 4, "queue": 0}, source="x") == Config(4, 0)


def test_all_faults_are_told_with_the_file_and_the_nearest_key() -> None:
    with pytest.raises(DocumentError) as caught:
        Config.parse({"workers": 0, "queue": "a", "worker": 1}, source="node.yaml")
    assert str(caught.value).splitlines() == [
        "node.yaml: workers: 0 is out of range (it must be from 1 to 256)",
        "node.yaml: queue: 'a' is a text, must be an integer",
        "node.yaml: worker: is not a known key (did you mean 'workers'?)",
    ]


def test_a_list_is_no_configuration() -> None:
    with pytest.raises(InputError, match="must be a mapping"):
        Config.parse([], source="x")
