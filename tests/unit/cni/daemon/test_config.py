"""The daemon's configuration: defaults, bounds, unknown keys."""

from __future__ import annotations

import pytest

from cni.client import PATIENCE_S
from cni.daemon.config import Config
from sriov.endpoint import TcpEndpoint
from sriov.errors import DocumentError, InputError


def test_an_empty_file_is_all_defaults() -> None:
    assert Config.parse(None, source="x") == Config.parse({}, source="x") == Config(32, 256, 90, 60, None)


def test_values_are_read() -> None:
    document = {"workers": 4, "queue": 0, "deadline": 30, "look_every": 5, "metrics": "[::1]:9402"}
    assert Config.parse(document, source="x") == Config(4, 0, 30, 5, TcpEndpoint("::1", 9402))


def test_clients_are_more_patient_than_any_deadline() -> None:
    with pytest.raises(InputError, match=r"x: deadline: 101 is out of range \(it must be from 1 to 100\)"):
        Config.parse({"deadline": 101}, source="x")
    assert PATIENCE_S > 100


def test_an_endpoint_that_is_none_is_told() -> None:
    with pytest.raises(InputError, match="x: metrics: 'localhost:9402' is no address with a port"):
        Config.parse({"metrics": "localhost:9402"}, source="x")


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
