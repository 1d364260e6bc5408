"""Any call has an answer: a result or an error with a code, nothing else; and a bug of ours is one of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni.perform import Caller, answer_bug, perform
from cni.record import Records
from cni.request import Verb
from cni.restore import Node
from sriov.kernel.sysfs import Sysfs
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf
from tests.unit.cni.test_request import ADD, CONFIG

KEYS = (
    "name", "cniVersion", "deviceID", "vlan", "VLANQOS", "mac", "trust", "link_state", "mtu", "routes", "dpu", "prevResult",
    "runtimeConfig", "min_tx_rate", "dns", "cni.dev/valid-attachments", "ipam", "type", "interfaces", "ips", "address", "args",
    "capabilities", "gateway", "to",
)  # fmt: skip
words = st.sampled_from(
    [
        "net0",
        "1.0.0",
        "0.2.0",
        "1.1.0",
        "0000:03:10.0",
        "0a:58:00:00:00:01",
        "on",
        "",
        "\ud800",
        "é",
        "no-such-plugin",
        "a\0b",
        "10.0.0.1/8",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | words, inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(KEYS), values).map(lambda found: {"name": "net0"} | found)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    folder = tmp_path_factory.mktemp("node")
    sysfs = FakeSysfs(folder / "sys", FakePf("0000:03:00.0", "pf0", (FakeVf("0000:03:10.0", "vf0"),)))
    return Node(Sysfs(sysfs.root), Records(folder / "state"), "this boot")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*Verb, "", "JUMP"]),
    documents.map(lambda found: json.dumps(found).encode()) | st.binary(max_size=30) | st.none(),
    st.text(max_size=10) | st.just("c1"),
    st.text(max_size=10) | st.just("IgnoreUnknown=1"),
)
def test_every_call_is_answered_and_without_a_namespace_nothing_is_attached(
    node: Node, verb: str, stdin: bytes | None, container: str, args: str
) -> None:
    environment = ADD | {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_ARGS": args}
    answer = perform(Caller(environment, stdin, None), node)
    if answer.status == 0:
        assert verb in ("DEL", "GC", "STATUS", "VERSION")
        assert (answer.text == b"") == (verb != "VERSION")
    else:
        said = json.loads(answer.text)
        assert answer.status == 1
        assert said["code"] in (1, 2, 3, 4, 5, 6, 7, 50, 100, 101)
        assert said["msg"]
        assert said["cniVersion"]
    assert node.records.read_all() == ()


@pytest.mark.parametrize("verb", ["ADD", "DEL", "GC", "STATUS"])
@pytest.mark.parametrize("kind", ["\ud800", "a\0b", "../x", ".."])
def test_a_name_that_no_program_can_have_is_refused(node: Node, verb: str, kind: str) -> None:
    document = {"cniVersion": "1.1.0", "name": "n", "ipam": {"type": kind}, "cni.dev/valid-attachments": []}
    answer = perform(Caller(ADD | {"CNI_COMMAND": verb}, json.dumps(document).encode(), None), node)
    assert (answer.status, json.loads(answer.text)["code"]) == (1, 7)


def test_each_call_leaves_one_line(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        perform(Caller(ADD | {"CNI_COMMAND": "DEL"}, CONFIG, None), node)
    (record,) = caplog.records
    said = record.__dict__["fields"]
    assert {key: said[key] for key in ("verb", "container", "ifname", "outcome")} == {
        "verb": "DEL", "container": "c1", "ifname": "net1", "outcome": "ok",
    }  # fmt: skip
    assert said["ms"] >= 0


def test_a_state_that_cannot_be_written_is_told_by_status(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    node = Node(Sysfs(tmp_path / "sys"), Records(tmp_path / "state"), "this boot")
    status = ADD | {"CNI_COMMAND": "STATUS"}
    answer = perform(Caller(status, b'{"name": "n", "cniVersion": "1.1.0"}', None), node)
    assert (answer.status, json.loads(answer.text)["code"]) == (1, 50)


def test_a_bug_is_an_error_of_code_999() -> None:
    said = json.loads(answer_bug(Caller(ADD, CONFIG, None), ValueError("x")).text)
    assert (said["code"], said["msg"]) == (999, "dpukit: this is a bug: ValueError: x (see the log of dpukit-node)")
