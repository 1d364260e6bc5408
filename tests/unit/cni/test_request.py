"""Reading calls: order of the checks, codes and texts as runtimes are used to; no bytes that are not answered."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.request import (
    AttachmentId,
    Verb,
    find_device,
    find_ipam,
    find_valid_attachments,
    find_version,
    parse_request,
)
from cni.result import (
    DecodeError,
    EnvironmentInputError,
    StandardInputError,
    VersionError,
    choose_code,
)
from sriov.errors import DpuError, InputError
from sriov.model import PciAddress

ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "net1",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG = b'{"cniVersion": "1.0.0", "name": "net0"}'


def test_a_call_is_read() -> None:
    request = parse_request(ADD | {"CNI_ARGS": "A=1"}, CONFIG)
    assert (request.verb, request.attachment) == (Verb.ADD, AttachmentId("c1", "net1"))
    assert (request.version, request.network, request.args) == ("1.0.0", "net0", "A=1")


def test_missing_variables_are_told_together() -> None:
    with pytest.raises(EnvironmentInputError) as caught:
        parse_request({"CNI_COMMAND": "ADD", "CNI_IFNAME": "net1"}, None)
    assert caught.value.what == "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_PATH] missing"


def test_a_malformed_variable_is_told_before_missing_ones() -> None:
    with pytest.raises(EnvironmentInputError, match="invalid characters in containerID"):
        parse_request({"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "../x"}, None)


@pytest.mark.parametrize("ifname", [".", "..", "a/b", "a:b", "a b", "a\u2003b", "x" * 16, "ä" * 8, "\udcff"])
def test_a_name_the_kernel_would_not_take_is_refused(ifname: str) -> None:
    with pytest.raises(EnvironmentInputError):
        parse_request(ADD | {"CNI_IFNAME": ifname}, CONFIG)


@pytest.mark.parametrize("container", ["-x", "a/b", "..", "a b", "ä", "x\n"])
def test_a_container_id_that_is_no_file_name_is_refused(container: str) -> None:
    with pytest.raises(EnvironmentInputError):
        parse_request(ADD | {"CNI_CONTAINERID": container}, CONFIG)


def test_del_needs_no_netns() -> None:
    environment = {key: value for key, value in ADD.items() if key != "CNI_NETNS"} | {"CNI_COMMAND": "DEL"}
    assert parse_request(environment, CONFIG).netns == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # Variables are looked at in this order; what is malformed is told at once, what is missing at the end, together.
        ({"CNI_CONTAINERID": "a/b", "CNI_NETNS": "", "CNI_IFNAME": "a/b"}, "invalid characters in containerID"),
        ({"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "a/b"}, "interface name contains / or :"),
        ({"CNI_CONTAINERID": "", "CNI_PATH": ""}, r"required env variables \[CNI_CONTAINERID,CNI_PATH\] missing"),
        ({"CNI_COMMAND": "CHECK", "CNI_NETNS": ""}, r"required env variables \[CNI_NETNS\] missing"),
        ({"CNI_COMMAND": "GC", "CNI_PATH": "", "CNI_IFNAME": "a/b"}, r"required env variables \[CNI_PATH\] missing"),
        ({"CNI_COMMAND": "STATUS", "CNI_PATH": "", "CNI_NETNS": ""}, r"required env variables \[CNI_PATH\] missing"),
        ({"CNI_COMMAND": ""}, r"required env variables \[CNI_COMMAND\] missing"),
    ],
)
def test_variables_are_checked_in_the_references_order(changes: dict[str, str], words: str) -> None:
    with pytest.raises(EnvironmentInputError, match=words):
        parse_request(ADD | changes, None)


def test_input_that_cannot_be_read_is_told_after_the_environment() -> None:
    with pytest.raises(EnvironmentInputError):
        parse_request({"CNI_COMMAND": "ADD"}, None)
    with pytest.raises(StandardInputError):
        parse_request(ADD, None)


def test_version_needs_neither_environment_nor_input() -> None:
    assert parse_request({"CNI_COMMAND": "VERSION"}, None).verb is Verb.VERSION


def test_an_unknown_verb_is_told_after_the_configuration_is_read() -> None:
    with pytest.raises(DecodeError):
        parse_request({"CNI_COMMAND": "JUMP"}, b"{")
    with pytest.raises(EnvironmentInputError, match="unknown CNI_COMMAND: JUMP"):
        parse_request({"CNI_COMMAND": "JUMP"}, CONFIG)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"name": ""}, InputError),
        ({"name": "a/b"}, InputError),
        ({"name": "n", "cniVersion": "9.9.9"}, VersionError),
        ({"name": "n", "cniVersion": "one"}, DecodeError),
        ({"name": "n", "cniVersion": 1}, DecodeError),
    ],
)
def test_what_every_verb_needs_is_checked(config: dict[str, object], error: type[DpuError]) -> None:
    with pytest.raises(error) as caught:
        parse_request(ADD, json.dumps(config).encode())
    assert type(caught.value) is error


@pytest.mark.parametrize(("verb", "version"), [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "0.4.0")])
def test_a_verb_younger_than_the_configuration_is_refused(verb: str, version: str) -> None:
    with pytest.raises(VersionError, match=f"config version does not allow {verb}"):
        parse_request(ADD | {"CNI_COMMAND": verb}, json.dumps({"name": "n", "cniVersion": version}).encode())


def test_what_is_json_and_no_object_is_told() -> None:
    with pytest.raises(DecodeError, match="is not a JSON object"):
        parse_request(ADD, b"[]")


def test_without_a_version_it_is_the_first_one() -> None:
    assert parse_request(ADD, b'{"name": "n"}').version == "0.1.0"


def test_the_version_of_an_error_is_the_callers_where_it_can_be_read() -> None:
    assert find_version(b'{"cniVersion": "0.4.0"}') == "0.4.0"
    assert [find_version(text) for text in (None, b"{", b'{"cniVersion": "7"}', b'{"cniVersion": []}')] == ["1.1.0"] * 4


def test_del_reads_what_it_can_of_a_bad_configuration() -> None:
    request = parse_request(ADD, b'{"name": "n", "DeviceId": "0000:03:10.0", "IPAM": {"Type": "host-local"}}')
    assert (find_device(request), find_ipam(request)) == (PciAddress(0, 3, 16, 0), "host-local")
    request = parse_request(ADD, b'{"name": "n", "runtimeConfig": {"deviceID": "0000:03:10.0"}}')
    assert find_device(request) == PciAddress(0, 3, 16, 0)
    request = parse_request(ADD, b'{"name": "n", "deviceID": "x", "ipam": []}')
    assert (find_device(request), find_ipam(request)) == (None, None)


def test_gc_reads_which_attachments_live() -> None:
    config = {"name": "n", "cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": "c", "ifname": "i"}]}
    request = parse_request(ADD | {"CNI_COMMAND": "GC"}, json.dumps(config).encode())
    assert find_valid_attachments(request) == {AttachmentId("c", "i")}


@pytest.mark.parametrize("entries", [None, {}, [1], [{"containerID": "c"}], [{"containerID": "c", "ifname": 3}]])
def test_gc_collects_nothing_without_a_whole_list(entries: object) -> None:
    config = {"name": "n", "cniVersion": "1.1.0", "cni.dev/valid-attachments": entries}
    request = parse_request(ADD | {"CNI_COMMAND": "GC"}, json.dumps(config).encode())
    with pytest.raises(InputError):
        find_valid_attachments(request)


@given(
    st.dictionaries(st.sampled_from([*ADD, "CNI_ARGS"]), st.text(max_size=20) | st.sampled_from([*Verb, "x"])),
    st.binary(max_size=60) | st.just(CONFIG) | st.none(),
)
def test_any_call_is_read_or_refused_with_a_code(environment: dict[str, str], stdin: bytes | None) -> None:
    try:
        parse_request(environment, stdin)
    except DpuError as error:
        assert choose_code(error) in (1, 4, 5, 6, 7)
