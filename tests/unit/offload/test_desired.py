from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from offload.desired import parse_state
from offload.model import DEFAULT_GATEWAY_MAC, DpuState, TunnelKind
from sriov.errors import DocumentError, InputError
from sriov.representor import VfPort

DOCUMENT: dict[str, Any] = {
    "apiVersion": "dpukit.io/v1alpha1",
    "kind": "DpuState",
    "node": "host0",
    "network": {
        "podCIDRs": ["10.1.1.0/24"],
        "clusterCIDRs": ["10.1.0.0/16"],
        "tunnel": {"type": "geneve", "vni": 100, "local": "192.0.2.11"},
    },
    "attachments": [
        {"pod": "default/client", "sandboxId": "a", "vf": 3, "mac": "0a:58:0a:01:01:02", "ips": ["10.1.1.2/32"]},
        {"pod": "default/server", "sandboxId": "b", "vf": 4, "mac": "0a:58:0a:01:01:03", "ips": ["10.1.1.3/32"]},
    ],
    "peers": [
        {"name": "dpu1", "vtep": "192.0.2.12", "podCIDRs": ["10.1.2.0/24"]},
        {"name": "dpu2", "vtep": "192.0.2.13", "podCIDRs": ["10.1.3.0/24"]},
    ],
}


def parse(document: object) -> DpuState:
    return parse_state(yaml.safe_dump(document), source="state.yaml")


def faults_of(document: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(document)
    return str(caught.value).splitlines()


def change(*path: str | int, to: object) -> dict[str, Any]:
    """Return the good document with one value changed; to=None takes the key away."""
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return document


def test_a_good_document_becomes_values_with_the_defaults() -> None:
    state = parse(DOCUMENT)
    assert state.node == "host0"
    assert state.network.gateway_mac == DEFAULT_GATEWAY_MAC
    assert state.network.tunnel.kind is TunnelKind.GENEVE
    assert state.attachments[0].vf == VfPort(1, 0, 3)
    assert state.attachments[0].key == "default/client default"
    assert [peer.name for peer in state.peers] == ["dpu1", "dpu2"]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("kind",), "DpuStaet", "state.yaml: kind: 'DpuStaet' is not one of DpuState (did you mean 'DpuState'?)"),
        (("node",), None, "state.yaml: node: is missing (the paired host's name in its cluster)"),
        (("network",), None, "state.yaml: network: is missing (it says podCIDRs, clusterCIDRs and tunnel)"),
        (("network", "podCIDRs"), ["10.9.1.0/24"], "is not inside any of clusterCIDRs"),
        (
            ("network", "podCIDRs"),
            ["10.1.1.5/24"],
            "state.yaml: network.podCIDRs[0]: '10.1.1.5/24' is not an IP network",
        ),
        (("network", "tunnel", "vni"), 1 << 24, "state.yaml: network.tunnel.vni: 16777216 is out of range"),
        (("network", "tunnel", "type"), "genevy", "did you mean 'geneve'?"),
        (("network", "tunnel", "local"), None, "state.yaml: network.tunnel.local: is missing"),
        (("network", "gatewayMAC"), "01:00:5e:00:00:01", "is not a unicast address"),
        (("attachments", 0, "pod"), "client", "state.yaml: attachments[0].pod: 'client' does not name a pod"),
        (("attachments", 0, "vf"), None, "state.yaml: attachments[0].vf: is missing"),
        (("attachments", 0, "vf"), -1, "state.yaml: attachments[0].vf: -1 is out of range"),
        (("attachments", 0, "mac"), "0a:58", "state.yaml: attachments[0].mac: '0a:58' is not a MAC address"),
        (("attachments", 0, "mac"), "0a:58:a9:fe:01:01", "is the gateway's (network.gatewayMAC)"),
        (("attachments", 0, "ips"), ["10.1.1.2"], "is not an IP address with a prefix length"),
        (
            ("attachments", 0, "ips"),
            ["10.1.7.2/32"],
            "attachments[0].ips[0]: 10.1.7.2 is outside podCIDRs (10.1.1.0/24)",
        ),
        (("attachments", 0, "ips"), [], "a pod without an address can neither send nor receive"),
        (("attachments", 0, "sandboxId"), 12, "12 is an integer, must be a text"),
        (("attachments", 1, "vf"), 3, "attachments[1].vf: VF c1pf0vf3 is that of attachments[0] too"),
        (("attachments", 1, "mac"), "0a:58:0a:01:01:02", "MAC address 0a:58:0a:01:01:02 is that of attachments[0] too"),
        (
            ("attachments", 1, "ips"),
            ["10.1.1.2/32"],
            "attachments[1].ips: address 10.1.1.2 is that of attachments[0] too",
        ),
        (
            ("attachments", 1, "pod"),
            "default/client",
            "attachment default/client default is that of attachments[0] too",
        ),
        (("attachments", 0, "sandboxID"), "x", "is not a known key (did you mean 'sandboxId'?)"),
        (
            ("peers", 0, "podCIDRs"),
            ["10.1.1.128/25"],
            "peers[0].podCIDRs: 10.1.1.128/25 overlaps this DPU's own 10.1.1.0/24",
        ),
        (
            ("peers", 1, "podCIDRs"),
            ["10.1.2.0/25"],
            "peers[1].podCIDRs: 10.1.2.0/25 overlaps 10.1.2.0/24 of peer 'dpu1'",
        ),
        (("peers", 0, "vtep"), "192.0.2.11", "192.0.2.11 is this DPU's own (network.tunnel.local)"),
        (("peers", 0, "vtep"), "fd00::1", "are of different families"),
        (("peers", 1, "vtep"), "192.0.2.12", "192.0.2.12 is that of peer 'dpu1' too"),
        (("peers", 1, "name"), "dpu1", "'dpu1' is the name of another peer too"),
        (("peers", 0, "vtep"), None, "state.yaml: peers[0].vtep: is missing (the peer's own tunnel.local)"),
    ],
)
def test_a_fault_is_told_by_its_place_and_value(path: tuple[str | int, ...], value: object, sentence: str) -> None:
    faults = faults_of(change(*path, to=value))
    assert any(sentence in fault for fault in faults), faults


def test_all_faults_are_told_at_once() -> None:
    document = change("node", to=None)
    document["network"]["tunnel"]["vni"] = "many"
    document["attachments"][0]["mac"] = "x"
    document["peers"][0]["vteb"] = document["peers"][0].pop("vtep")
    with pytest.raises(DocumentError) as caught:
        parse(document)
    assert {error.subject for error in caught.value.errors} == {
        "state.yaml: node",
        "state.yaml: network.tunnel.vni",
        "state.yaml: attachments[0].mac",
        "state.yaml: peers[0].vtep",
        "state.yaml: peers[0].vteb",
    }


@pytest.mark.parametrize("text", ["", "[]", "42", "a: [", "\t", "a: b: c", "!!python/object:os.system {}", "key: \x00"])
def test_text_that_is_no_such_document_is_one_fault(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_state(text, source="state.yaml")
    assert str(caught.value).startswith("state.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["apiVersion", "kind", "node", "network", "attachments", "peers"]), JSON)
def test_whatever_stands_under_a_key_it_is_taken_or_refused(key: str, value: object) -> None:
    try:
        parse({**DOCUMENT, key: value})
    except InputError as error:
        assert str(error).startswith("state.yaml")


@given(st.sampled_from(["pod", "sandboxId", "vf", "mac", "ips", "controller"]), JSON)
def test_whatever_an_attachment_holds_it_is_taken_or_refused(key: str, value: object) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["attachments"][0][key] = value
    try:
        parse(document)
    except InputError as error:
        assert str(error).startswith("state.yaml")
