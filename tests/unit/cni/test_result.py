"""Results and errors in every version of CNI; every error of ours has a code."""

from __future__ import annotations

import errno
import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest

import cni.client
from cni.result import (
    CODES,
    SUPPORTED_VERSIONS,
    DelegateError,
    EnvironmentInputError,
    RecordError,
    Result,
    ResultInterface,
    ResultIp,
    choose_code,
    parse_result,
    render_error,
    render_result,
    render_versions,
)
from sriov.errors import (
    BusyError,
    DocumentError,
    DpuError,
    InputError,
    KernelError,
    NotFoundError,
    UnreachableError,
    UnsupportedError,
    VerifyError,
)
from sriov.link import Route

WHOLE = Result(
    interfaces=(ResultInterface("net1", "0a:00:00:00:00:01", 1400, "/run/netns/x", "0000:03:10.1"),),
    ips=(
        ResultIp(ip_interface("10.1.1.2/24"), ip_address("10.1.1.1"), 0),
        ResultIp(ip_interface("fd00::2/64"), None, 0),
    ),
    routes=(Route(ip_network("0.0.0.0/0"), ip_address("10.1.1.1"), mtu=1400), Route(ip_network("fd01::/16"))),
    dns={"nameservers": ["10.0.0.1"]},
)


def every(kind: type[DpuError]) -> list[type[DpuError]]:
    return [kind, *(other for child in kind.__subclasses__() for other in every(child))]


def test_every_error_has_a_code() -> None:
    for kind in every(DpuError):
        assert any(parent in CODES for parent in kind.__mro__), kind


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a", "b"), 7),
        (DocumentError([InputError("a", "b")]), 7),
        (EnvironmentInputError("a", "b"), 4),
        (NotFoundError("a", "b"), 100),
        (BusyError("a", "b"), 11),
        (UnsupportedError("a", "b"), 101),
        (KernelError("a", "b", errno.EINVAL), 102),
        (KernelError("a", "b", errno.EBUSY), 11),
        (UnreachableError("a", "b"), 11),
        (VerifyError("a", "b"), 103),
        (DelegateError("a", "b", code=7), 104),
        (DelegateError("a", "b", code=11), 11),
        (RecordError("a", "b"), 105),
    ],
)
def test_an_error_says_by_its_code_who_must_act(error: DpuError, code: int) -> None:
    assert choose_code(error) == code


def test_an_error_is_one_sentence_and_more_are_its_details() -> None:
    error = DocumentError([InputError("vlan", "is bad", hint="do"), InputError("mtu", "is bad")])
    assert json.loads(render_error(error, version="0.4.0")) == {
        "cniVersion": "0.4.0", "code": 7, "msg": "vlan: is bad (do)", "details": "mtu: is bad",
    }  # fmt: skip


def test_fixed_words_stay_as_they_are() -> None:
    said = json.loads(render_error(EnvironmentInputError("", "fixed words", hint="more"), version="1.0.0"))
    assert (said["msg"], said["details"]) == ("fixed words", "more")


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS[2:])
def test_a_result_is_read_back_as_it_was_written(version: str) -> None:
    said = json.loads(render_result(WHOLE, version))
    again = parse_result(said, path="x")
    assert (again.ips, again.dns) == (WHOLE.ips, WHOLE.dns)
    assert ("version" in said["ips"][0]) == (version < "1.0.0")
    if version >= "1.0.0":
        assert again == WHOLE
    else:
        assert not {"mtu", "pciID"} & set(said["interfaces"][0])
        assert said["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.1.1"}, {"dst": "fd01::/16"}]


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS[:2])
def test_the_oldest_results_are_sorted_by_family(version: str) -> None:
    said = json.loads(render_result(WHOLE, version))
    assert said == {
        "cniVersion": version,
        "ip4": {"ip": "10.1.1.2/24", "gateway": "10.1.1.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.1.1"}]},
        "ip6": {"ip": "fd00::2/64", "routes": [{"dst": "fd01::/16"}]},
        "dns": {"nameservers": ["10.0.0.1"]},
    }
    again = parse_result(said, path="x")
    assert [str(ip.address) for ip in again.ips] == ["10.1.1.2/24", "fd00::2/64"]


def test_what_an_address_does_not_have_is_not_said() -> None:
    alone = Result(ips=(ResultIp(ip_interface("10.1.1.2/24")),))
    assert json.loads(render_result(alone, "1.0.0"))["ips"] == [{"address": "10.1.1.2/24"}]
    assert json.loads(render_result(alone, "0.2.0"))["ip4"] == {"ip": "10.1.1.2/24"}


def test_a_vf_without_addresses_is_a_result_too() -> None:
    assert json.loads(render_result(Result(interfaces=(ResultInterface("net1"),)), "1.0.0")) == {
        "cniVersion": "1.0.0", "interfaces": [{"name": "net1"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [None, 3, {"ips": {}}, {"ips": [{}]}, {"ips": [{"address": "10.0.0.1"}]}, {"routes": [{"dst": "x"}]},
     {"ip4": {"ip": 3}}, {"interfaces": [{"name": 3}]}],
)  # fmt: skip
def test_what_is_no_result_is_refused(document: object) -> None:
    with pytest.raises(InputError):
        parse_result(document, path="prevResult")


def test_the_client_says_the_same_versions() -> None:
    assert render_versions() == cni.client.VERSIONS
    assert cni.client.ABOUT.decode().rstrip().endswith(", ".join(SUPPORTED_VERSIONS))
    assert json.loads(cni.client.LOST)["code"] == choose_code(BusyError("a", "b"))
