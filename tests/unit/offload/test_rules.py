from __future__ import annotations

import itertools
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.flow import ETH_ARP, ETH_IPV4, ETH_IPV6, LOCAL, Flow
from offload.model import Peer, Wiring
from offload.rules import BASE, compile_state, owner_of_attachment, owner_of_peer
from sriov.model import MacAddress
from tests.fakes.flowtable import FakeFlowTable, Sent
from tests.unit.offload.samples import make_attachment, make_state

GATEWAY = 0x0A58A9FE0101
UPLINK, TUNNEL = 1, 2
PODS = [make_attachment(vf, v6=True) for vf in range(3)]
STATE = make_state(*PODS, peers=2)
WIRING = Wiring(UPLINK, TUNNEL, tuple((pod.key, 300 + number) for number, pod in enumerate(PODS)))


def number(value: MacAddress | str) -> int:
    return int.from_bytes(value.octets, "big") if isinstance(value, MacAddress) else int(ip_address(value))


@pytest.fixture
def table() -> FakeFlowTable:
    return FakeFlowTable(itertools.chain.from_iterable(compile_state(STATE, WIRING).values()))


def from_pod(pod: int, target: str, **changes: int) -> dict[str, int]:
    address = ip_address(target)
    name = "ip" if address.version == 4 else "ipv6"
    source = next(found.ip for found in PODS[pod].ips if found.version == address.version)
    packet = {
        "in_port": 300 + pod,
        "eth_src": number(PODS[pod].mac),
        "eth_dst": GATEWAY,
        "eth_type": ETH_IPV4 if address.version == 4 else ETH_IPV6,
        f"{name}_src": int(source),
        f"{name}_dst": int(address),
    }
    return packet | changes


def only(sent: list[Sent]) -> Sent:
    assert len(sent) == 1
    return sent[0]


@pytest.mark.parametrize("target", ["10.1.1.4", "fd00:1:1::4"])
def test_a_packet_for_a_pod_here_goes_to_its_port_from_the_gateway(table: FakeFlowTable, target: str) -> None:
    sent = only(table.send(from_pod(0, target)))
    assert sent.port == 302
    assert sent.fields["eth_src"] == GATEWAY
    assert sent.fields["eth_dst"] == number(PODS[2].mac)


@pytest.mark.parametrize("target", ["10.1.3.9", "fd00:1:3::9"])
def test_a_packet_for_a_pod_elsewhere_goes_into_the_tunnel_to_its_dpu(table: FakeFlowTable, target: str) -> None:
    sent = only(table.send(from_pod(0, target)))
    assert sent.port == TUNNEL
    assert sent.fields["tun_id"] == 100
    assert sent.fields["tun_dst"] == number("192.0.2.13")


def from_tunnel(**changes: int) -> dict[str, int]:
    packet = {
        "in_port": TUNNEL,
        "tun_id": 100,
        "tun_src": number("192.0.2.12"),
        "eth_type": ETH_IPV4,
        "ip_src": number("10.1.2.2"),
        "ip_dst": number("10.1.1.2"),
    }
    return packet | changes


def test_a_packet_out_of_the_tunnel_goes_to_its_pod(table: FakeFlowTable) -> None:
    sent = only(table.send(from_tunnel()))
    assert (sent.port, sent.fields["eth_dst"]) == (300, number(PODS[0].mac))


@pytest.mark.parametrize(
    "change",
    [
        {"tun_id": 101},
        {"tun_src": number("192.0.2.99")},
        {"ip_dst": number("10.1.3.2")},
        {"ip_dst": number("10.1.1.200")},
        {"eth_type": ETH_ARP},
    ],
    ids=["another network", "no peer", "not for here", "no such pod", "not IP"],
)
def test_what_the_tunnel_should_not_bring_is_dropped(table: FakeFlowTable, change: dict[str, int]) -> None:
    assert table.send(from_tunnel(**change)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"eth_src": number(PODS[1].mac)},
        {"ip_src": number("10.1.1.3")},
        {"eth_dst": number(PODS[2].mac)},
        {"eth_dst": 0xFFFFFFFFFFFF},
        {"in_port": 301},
        {"in_port": 999},
    ],
    ids=["another's MAC", "another's address", "past the gateway", "broadcast", "another's port", "unknown port"],
)
def test_a_pod_sends_as_itself_and_through_its_gateway_only(table: FakeFlowTable, change: dict[str, int]) -> None:
    assert only(table.send(from_pod(0, "10.1.1.4"))).port == 302
    assert table.send(from_pod(0, "10.1.1.4", **change)) == []


@pytest.mark.parametrize("target", ["10.1.9.9", "10.1.1.200", "8.8.8.8", "fd00:1:9::9", "2001:db8::1"])
def test_a_packet_for_nobody_known_is_dropped(table: FakeFlowTable, target: str) -> None:
    assert table.send(from_pod(0, target)) == []


def test_the_underlay_reaches_the_dpus_own_device_and_back(table: FakeFlowTable) -> None:
    assert only(table.send({"in_port": UPLINK, "eth_type": ETH_ARP})).port == LOCAL
    assert only(table.send({"in_port": LOCAL, "eth_type": ETH_IPV4})).port == UPLINK


def arp(target: str, *, operation: int = 1) -> dict[str, int]:
    mac = number(PODS[0].mac)
    addresses = {"arp_spa": number("10.1.1.2"), "arp_tpa": number(target), "arp_sha": mac, "arp_tha": 0}
    ends = {"in_port": 300, "eth_src": mac, "eth_dst": 0xFFFFFFFFFFFF}
    return {**ends, "eth_type": ETH_ARP, "arp_op": operation, **addresses}


def test_the_gateway_answers_for_itself_and_for_nobody_else(table: FakeFlowTable) -> None:
    sent = only(table.send(arp("169.254.1.1")))
    assert sent.port == 300
    assert sent.fields["eth_dst"] == sent.fields["arp_tha"] == number(PODS[0].mac)
    assert sent.fields["eth_src"] == sent.fields["arp_sha"] == GATEWAY
    assert sent.fields["arp_op"] == 2
    assert (sent.fields["arp_spa"], sent.fields["arp_tpa"]) == (number("169.254.1.1"), number("10.1.1.2"))
    assert table.send(arp("10.1.1.3")) == []
    assert table.send(arp("169.254.1.1", operation=2)) == []


def test_an_attachment_without_a_port_has_no_flows_and_the_others_have_theirs() -> None:
    flows = compile_state(STATE, Wiring(UPLINK, None, WIRING.representors[1:]))
    assert owner_of_attachment(PODS[0]) not in flows
    assert flows[owner_of_attachment(PODS[1])] == compile_state(STATE, WIRING)[owner_of_attachment(PODS[1])]
    assert all(owner_of_peer(peer) not in flows for peer in STATE.peers)
    assert flows[BASE]


def test_a_tunnel_over_ipv6_names_its_ends_by_the_ipv6_fields() -> None:
    peer = Peer("dpu9", ip_address("2001:db8:2::12"), (ip_network("10.1.9.0/24"),))
    state = make_state(PODS[0], peers=0)
    state = type(state)(state.node, state.network, state.attachments, (peer,))
    table = FakeFlowTable(itertools.chain.from_iterable(compile_state(state, WIRING).values()))
    assert only(table.send(from_pod(0, "10.1.9.4"))).fields["tun_ipv6_dst"] == number("2001:db8:2::12")


STATES = st.builds(
    lambda pods, peers: make_state(*(make_attachment(vf, v6=vf % 2 == 0) for vf in pods), peers=peers),
    st.lists(st.integers(0, 100), unique=True, max_size=6),
    st.integers(0, 4),
)


@given(STATES, st.randoms(use_true_random=False))
def test_compiling_depends_on_what_is_and_not_on_its_order(state, random) -> None:  # noqa: ANN001
    wiring = Wiring(UPLINK, TUNNEL, tuple((pod.key, 300 + pod.vf.vf) for pod in state.attachments))
    shuffled = list(state.attachments)
    random.shuffle(shuffled)
    other = type(state)(state.node, state.network, tuple(shuffled), state.peers)
    assert dict(compile_state(state, wiring)) == dict(compile_state(other, wiring))


def covers(first: Flow, second: Flow) -> bool:
    """Whether some packet matches both."""
    terms = {term.field: term for term in first.match}
    for term in second.match:
        own = terms.get(term.field)
        if own is None:
            continue
        both = (-1 if own.mask is None else own.mask) & (-1 if term.mask is None else term.mask)
        if own.value & both != term.value & both:
            return False
    return True


@given(STATES)
def test_no_packet_has_two_fates(state) -> None:  # noqa: ANN001
    wiring = Wiring(UPLINK, TUNNEL, tuple((pod.key, 300 + pod.vf.vf) for pod in state.attachments))
    flows = list(itertools.chain.from_iterable(compile_state(state, wiring).values()))
    assert len({flow.key for flow in flows}) == len(flows)
    for first, second in itertools.combinations(flows, 2):
        if (first.table, first.priority) == (second.table, second.priority):
            assert first.actions == second.actions or not covers(first, second), (str(first), str(second))
