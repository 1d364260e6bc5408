"""What is asked for one attachment: whose word goes before whose, and what is told to be unsupported."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.capability import Asked, parse_args, parse_asked
from cni.result import EnvironmentInputError, FieldError
from sriov.document import Faults
from sriov.errors import InputError


def parse(*, args: str = "", **keys: object) -> Asked:
    faults = Faults()
    asked = parse_asked(keys, args, faults=faults)
    faults.raise_if_any()
    return asked


def runtime(**keys: object) -> Asked:
    return parse(runtimeConfig=keys)


def test_nothing_asked_is_nothing() -> None:
    assert parse() == parse(runtimeConfig={}) == parse(runtimeConfig=None) == Asked()
    assert parse_asked({"args": {"other": 1}}, "", faults=Faults()) == Asked()


def test_the_runtimes_word_goes_before_the_pods_before_the_environment() -> None:
    first, second, third = (f"02:00:00:00:00:0{number}" for number in (1, 2, 3))
    environment, pod = f"MAC={third}", {"cni": {"MAC": second}}
    assert str(parse(runtimeConfig={"mac": first}, args=environment).mac) == first
    assert str(parse_asked({"args": pod, "runtimeConfig": {"Mac": first}}, environment, faults=Faults()).mac) == first
    assert str(parse_asked({"args": pod}, environment, faults=Faults()).mac) == second
    assert str(parse_asked({"args": {"cni": None}}, environment, faults=Faults()).mac) == third


def test_a_device_and_addresses_are_taken_from_the_runtime() -> None:
    asked = runtime(deviceID="0000:03:10.1", ips=["10.0.0.7/24", "fd00::7"], CNIDeviceInfoFile="/x")
    assert (asked.device, asked.device_file) == ("0000:03:10.1", "/x")
    assert asked.ips == (ip_address("10.0.0.7"), ip_address("fd00::7"))


def test_what_a_pod_may_send_is_a_rate_of_its_vf() -> None:
    assert runtime(bandwidth={"egressRate": 20_000_000, "egressBurst": 2147483647, "ingressRate": 0}).max_tx_rate == 20
    assert runtime(bandwidth={"egressRate": 0}).max_tx_rate is None
    assert runtime(bandwidth={}).max_tx_rate is None


@pytest.mark.parametrize(
    "keys",
    [
        {"bandwidth": {"ingressRate": 1000000}},
        {"bandwidth": {"egressRate": 1_500_000}},
        {"bandwidth": {"EgressRate": 999}},
        {"infinibandGUID": "c2:11:22:33:44:55:66:77"},
        {"InfinibandGuid": "x"},
    ],
)
def test_what_a_vf_cannot_do_is_an_unsupported_field(keys: dict[str, object]) -> None:
    with pytest.raises(FieldError, match="unsupported field"):
        runtime(**keys)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"runtimeConfig": []}, "runtimeConfig: is a list, must be a mapping"),
        ({"runtimeConfig": {"mac": 5}}, "runtimeConfig.mac: 5 is an integer"),
        ({"runtimeConfig": {"mac": "01:00:00:00:00:01"}}, "is not a unicast address"),
        ({"runtimeConfig": {"ips": "10.0.0.1"}}, "runtimeConfig.ips: '10.0.0.1' is a text, must be a list"),
        ({"runtimeConfig": {"ips": ["x/24"]}}, "runtimeConfig.ips[0]: 'x' is not an IP address"),
        ({"runtimeConfig": {"bandwidth": 5}}, "runtimeConfig.bandwidth: is an integer"),
        ({"runtimeConfig": {"bandwidth": {"egressRate": "5"}}}, "egressRate: '5' is a text"),
        ({"runtimeConfig": {"bandwidth": {"egressRate": -1}}}, "egressRate: -1 is out of range"),
        ({"args": {"cni": {"mac": "x"}}}, "args.cni.mac: 'x' is not a MAC address"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(keys: dict[str, object], words: str) -> None:
    faults = Faults()
    parse_asked(keys, "", faults=faults)
    with pytest.raises(InputError) as caught:
        faults.raise_if_any()
    assert words in str(caught.value)


def test_arguments_are_pairs() -> None:
    assert parse_args("A=1;IgnoreUnknown=TRUE;MAC=x") == {"A": "1", "IgnoreUnknown": "TRUE", "MAC": "x"}
    assert parse_args("") == {}


@given(st.text(st.sampled_from("A1=;") | st.characters(), max_size=12))
def test_any_text_is_pairs_or_refused(text: str) -> None:
    try:
        found = parse_args(f"IgnoreUnknown=1;{text}")
    except EnvironmentInputError:
        return
    assert all("=" not in key + value and ";" not in key + value for key, value in found.items())


@pytest.mark.parametrize("text", ["MAC", "MAC=a=b", "Foo=1", "IgnoreUnknown=0;Foo=1", "IgnoreUnknown=perhaps"])
def test_malformed_arguments_are_refused(text: str) -> None:
    with pytest.raises(EnvironmentInputError, match="CNI_ARGS"):
        parse_args(text)
