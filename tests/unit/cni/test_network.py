"""Reading network configurations: sriov-cni's keys in any case, ours besides, all faults at once."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from cni.network import NetworkConfig, RoutedMode, check_addresses, parse_network_config
from cni.request import Request, parse_request
from cni.result import DelegateError, EnvironmentInputError, FieldError, Result, ResultIp
from sriov.errors import DocumentError, InputError
from sriov.link import LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MacAddress, PciAddress
from tests.unit.cni.test_request import ADD

MAC = MacAddress.parse("0a:58:0a:01:01:02")


def request(*, args: str = "", version: str = "1.0.0", **keys: object) -> Request:
    config = {"cniVersion": version, "name": "n", "deviceID": "0000:03:10.1", **keys}
    return parse_request(ADD | {"CNI_ARGS": args}, json.dumps(config).encode())


def parse(*, args: str = "", version: str = "1.0.0", **keys: object) -> NetworkConfig:
    return parse_network_config(request(args=args, version=version, **keys))


def test_the_least_is_a_vf() -> None:
    config = parse()
    assert (config.vf, config.attributes, config.mac) == (PciAddress(0, 3, 16, 1), VfAttributes(), None)
    assert (config.mtu, config.routed, config.ipam, config.previous, config.suspicious) == (None, None, None, None, ())


def test_every_key_of_sriov_cni_has_its_meaning_in_any_case() -> None:
    config = parse(
        VLAN=100, vlanqos=3, VlanProto="802.1AD", SpoofChk="off", TRUST="on", Link_State="enable", MIN_TX_RATE=10,
        max_tx_rate=100, Mac="0A-58-0a-01-01-02", logLevel="debug", logFile="/x",
    )  # fmt: skip
    assert config.attributes == VfAttributes(
        MAC, VlanTag(100, 3, VlanProtocol.SERVICE), spoofchk=False, trust=True,
        link_state=LinkState.ENABLE, rates=Rates(10, 100),
    )  # fmt: skip
    assert config.suspicious == ()


def test_one_rate_alone_lets_the_other_be_without_limit() -> None:
    assert parse(max_tx_rate=100).attributes.rates == Rates(0, 100)


def test_vlan_0_is_an_order_and_no_vlan_is_none() -> None:
    assert (parse(vlan=0).attributes.vlan, parse().attributes.vlan) == (VlanTag(0), None)


def test_empty_words_are_none_for_templates_render_them_so() -> None:
    assert parse(mac="", spoofchk="", trust="", link_state="", vlanProto="").attributes == VfAttributes()


def test_the_runtimes_mac_goes_before_the_pods_before_the_networks() -> None:
    both, third = {"mac": "02:00:00:00:00:03"}, "02:00:00:00:00:02"
    assert str(parse(mac=str(MAC), runtimeConfig=both, args=f"MAC={third}").mac) == "02:00:00:00:00:03"
    assert str(parse(mac=str(MAC), args=f"MAC={third};IgnoreUnknown=1;Foo=2").mac) == third
    assert parse(mac=str(MAC)).mac == MAC


def test_the_device_is_the_networks_or_the_runtimes_and_never_two() -> None:
    device, other = "0000:03:10.1", "0000:03:10.2"
    assert str(parse(deviceID=None, runtimeConfig={"deviceID": other}).vf) == other
    assert str(parse(deviceID="", runtimeConfig={"deviceID": other}).vf) == other
    assert str(parse(runtimeConfig={"deviceID": device}).vf) == device
    with pytest.raises(InputError, match=r"deviceID: '0000:03:10.1' is not runtimeConfig.deviceID, '0000:03:10.2'"):
        parse(runtimeConfig={"deviceID": other})


def test_neither_the_networks_limit_nor_the_pods_is_exceeded() -> None:
    def limit(egress: int, **keys: object) -> object:
        return parse(runtimeConfig={"bandwidth": {"egressRate": egress * 1000000}}, **keys).attributes.rates

    assert (limit(5), limit(5, max_tx_rate=3), limit(5, max_tx_rate=9)) == (Rates(0, 5), Rates(0, 3), Rates(0, 5))
    assert limit(5, max_tx_rate=0) == Rates(0, 5)
    with pytest.raises(InputError, match="min_tx_rate: 6 is more than max_tx_rate, 5"):
        limit(5, min_tx_rate=6)


def test_addresses_that_are_asked_for_must_be_given() -> None:
    config = parse(runtimeConfig={"ips": ["10.1.1.2/24"]}, ipam={"type": "a"})
    check_addresses(config, Result(ips=(ResultIp(ip_interface("10.1.1.2/16")),)))
    with pytest.raises(DelegateError, match=r"gave 10.1.1.3, not 10.1.1.2 which runtimeConfig.ips asks for"):
        check_addresses(config, Result(ips=(ResultIp(ip_interface("10.1.1.3/24")),)))


@pytest.mark.parametrize("args", ["MAC", "MAC=a=b", "Foo=1", "IgnoreUnknown=0;Foo=1"])
def test_malformed_arguments_are_refused(args: str) -> None:
    with pytest.raises(EnvironmentInputError):
        parse(args=args)


def test_without_device_the_hint_names_the_two_usual_mistakes() -> None:
    with pytest.raises(InputError, match=r"lacks the k8s.v1.cni.cncf.io/resourceName annotation, or the pod does not"):
        parse(deviceID=None)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"vlan": "5"}, "vlan: '5' is a text, must be an integer (write it without quotes: 5)"),
        ({"logLevel": "loud"}, "logLevel: 'loud' is not one of panic, error, warning, info, debug"),
        ({"logFile": "x.log"}, "logFile: 'x.log' is not an absolute path"),
        ({"logFile": 5}, "logFile: 5 is an integer, must be a text"),
        ({"runtimeConfig": {"ips": ["10.0.0.1"]}}, "runtimeConfig.ips: asks for 10.0.0.1, and there is no ipam"),
        ({"vlan": True}, "vlan: True is a boolean, must be an integer"),
        ({"vlan": -1}, "from 0 to 4094"),
        ({"vlan": 5, "vlanQoS": 8}, "from 0 to 7"),
        ({"vlanQoS": 1}, "vlanQoS: 1 needs a VLAN"),
        ({"vlan": 0, "vlanProto": "802.1ad"}, "vlanProto: '802.1ad' needs a VLAN"),
        ({"vlan": 1, "vlanProto": "qinq"}, "vlanProto: 'qinq' is not one of 802.1q, 802.1ad"),
        ({"spoofchk": "yes"}, "spoofchk: 'yes' is not one of on, off"),
        ({"trust": False}, "trust: False is a boolean"),
        ({"link_state": "up"}, "'up' is not one of auto, enable, disable"),
        ({"min_tx_rate": 5, "max_tx_rate": 4}, "min_tx_rate: 5 is more than max_tx_rate, 4"),
        ({"mtu": 67}, "mtu: 67 is out of range"),
        ({"mac": "x"}, "mac: 'x' is not a MAC address"),
        ({"runtimeConfig": {"mac": "x"}}, "runtimeConfig.mac: 'x' is not a MAC address"),
        ({"routes": {}}, "routes: needs addresses, and there is no ipam"),
        ({"routes": {"gatway": "1.2.3.4"}, "ipam": {"type": "a"}}, "routes.gatway: is not a known key (did you mean"),
        ({"routes": {"gateway": "fe80::1"}, "ipam": {"type": "a"}}, "routes.gateway"),
        ({"routes": {"to": ["10.0.0.1/8"]}, "ipam": {"type": "a"}}, "routes.to[0]: '10.0.0.1/8' is not an IP network"),
        ({"prevResult": []}, "prevResult: is a list, must be a mapping"),
    ],
)
def test_a_wrong_value_is_told_with_its_field(keys: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(**keys)
    assert words in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(DocumentError) as caught:
        parse(deviceID="x", vlan=9999, mtu=1)
    assert len(caught.value.errors) == 3


def test_what_is_not_offered_is_an_unsupported_field() -> None:
    for keys in ({"dpu": {"mode": "kubernetes"}}, {"dpu": "on"}, {"runtimeConfig": {"infinibandGUID": "c2:11"}}):
        with pytest.raises(FieldError):
            parse(**keys)
    assert parse(dpu={"mode": "off"}).vf == parse(dpu={}).vf


def test_an_old_result_cannot_be_without_address() -> None:
    with pytest.raises(InputError, match="cannot be without address"):
        parse(version="0.2.0")


def test_a_near_miss_of_a_key_is_suspicious_and_other_keys_are_not() -> None:
    config = parse(spofchk="on", somethingElse=1)
    assert config.suspicious == ("'spofchk' is not read: did you mean 'spoofchk'?",)


def test_routed_mode_has_the_pipelines_defaults() -> None:
    routed = parse(routes={}, ipam={"type": "a"}).routed
    assert routed == RoutedMode(
        ip_address("169.254.1.1"), ip_address("fe80::1"), MacAddress.parse("0a:58:a9:fe:01:01"), mtu=None, to=None
    )
    routed = parse(routes={"mtu": 1400, "to": ["10.0.0.0/8"]}, ipam={"type": "a"}).routed
    assert routed is not None
    assert (routed.mtu, routed.to) == (1400, (ip_network("10.0.0.0/8"),))


def test_a_destination_needs_an_address_of_its_family() -> None:
    config = parse(routes={"to": ["10.0.0.0/8", "fd00::/8"]}, ipam={"type": "a"})
    v4, v6 = (ResultIp(ip_interface(text)) for text in ("10.1.1.2/24", "fd00::2/64"))
    check_addresses(config, Result(ips=(v4, v6)))
    with pytest.raises(InputError, match=r"routes.to\[1\]: 'fd00::/8' is IPv6, and IPAM a gave no such address"):
        check_addresses(config, Result(ips=(v4,)))
