"""Compile what should be into flow rules, one owner at a time. Pure.

The pipeline (README.md draws it): table 0 says where a packet came from (reg0: 1 a pod, 2 the tunnel), table 1 lets a
pod send with its own addresses only, table 2 is where connection tracking will branch off, table 5 rewrites Ethernet
addresses and sends. Tables 3, 4, 6, 7 and 9 belong to services, policy and external traffic. Packets between the
uplink and the bridge's own device (the VTEP's) pass in table 0. What no rule takes is dropped by a rule that says so.

Jumps are ``resubmit``: later tables go backwards, which ``goto_table`` cannot. Nothing here may use NORMAL, learn,
groups or pkt_mark, which no hardware takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import TypeAlias

from offload.flow import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    IN_PORT,
    LOCAL,
    Action,
    Flow,
    Move,
    Output,
    Owner,
    OwnerKind,
    Resubmit,
    SetField,
    Term,
    make_match,
)
from offload.model import Attachment, DpuState, Peer, PodNetwork, Wiring
from sriov.document import Address, Network
from sriov.model import MacAddress

CLASSIFY, SPOOF, NEEDS_CT, L3 = 0, 1, 2, 5

FROM_POD, FROM_TUNNEL = 1, 2

GATEWAY_IPV4 = IPv4Address("169.254.1.1")
"""The gateway every pod routes to; link-local, the same on every DPU."""

_ARP_REQUEST, _ARP_REPLY = 1, 2

BASE = Owner(OwnerKind.BASE)

FlowsByOwner: TypeAlias = Mapping[Owner, tuple[Flow, ...]]


def compile_state(state: DpuState, wiring: Wiring) -> FlowsByOwner:
    """Return the flows of every owner whose ports have numbers; an owner without a port has none."""
    flows: dict[Owner, tuple[Flow, ...]] = {BASE: compile_base(state.network, wiring)}
    for attachment in state.attachments:
        ofport = wiring.find_representor(attachment)
        if ofport is not None:
            owner = owner_of_attachment(attachment)
            flows[owner] = compile_attachment(attachment, state.network, ofport=ofport)
    if wiring.tunnel is not None:
        for peer in state.peers:
            flows[owner_of_peer(peer)] = compile_peer(peer, state.network, tunnel_ofport=wiring.tunnel)
    return flows


def owner_of_attachment(attachment: Attachment) -> Owner:
    """Name the attachment as an owner of flows."""
    return Owner(OwnerKind.ATTACHMENT, attachment.key)


def owner_of_peer(peer: Peer) -> Owner:
    """Name the peer as an owner of flows."""
    return Owner(OwnerKind.PEER, peer.name)


def compile_base(network: PodNetwork, wiring: Wiring) -> tuple[Flow, ...]:
    """Return the flows that stand whoever is attached: the underlay, the cluster's edge, the drops."""
    flows = [_base(table, 0, (), ()) for table in (CLASSIFY, SPOOF, L3)]
    flows.append(_base(NEEDS_CT, 0, (), (Resubmit(L3),)))
    if wiring.uplink is not None:
        flows.append(_base(CLASSIFY, 50, (Term("in_port", wiring.uplink),), (Output(LOCAL),)))
        flows.append(_base(CLASSIFY, 50, (Term("in_port", LOCAL),), (Output(wiring.uplink),)))
    # A pod nobody knows is no reason to leave the cluster.
    flows += [_base(L3, 80, _ip(destination=cidr), ()) for cidr in network.cluster_cidrs]
    return tuple(flows)


def compile_attachment(attachment: Attachment, network: PodNetwork, *, ofport: int) -> tuple[Flow, ...]:
    """Return the flows of one pod's VF behind port `ofport`."""
    cookie = owner_of_attachment(attachment).cookie
    here = Term("in_port", ofport)
    mac, gateway = _number(attachment.mac), _number(network.gateway_mac)
    addressed = (here, Term("eth_src", mac), Term("eth_dst", gateway))
    flows = [_flow(CLASSIFY, 100, (here,), (SetField("reg0", FROM_POD), Resubmit(SPOOF)), cookie)]
    for address in (interface.ip for interface in attachment.ips):
        flows.append(_flow(SPOOF, 100, (*addressed, *_ip(source=address)), (Resubmit(NEEDS_CT),), cookie))
        deliver = (SetField("eth_src", gateway), SetField("eth_dst", mac), Output(ofport))
        flows.append(_flow(L3, 100, _ip(destination=address), deliver, cookie))
        if address.version == 4:
            flows.append(_arp_responder(attachment.mac, address, gateway=gateway, here=here, cookie=cookie))
    return tuple(flows)


def compile_peer(peer: Peer, network: PodNetwork, *, tunnel_ofport: int) -> tuple[Flow, ...]:
    """Return the flows to and from one other DPU, through port `tunnel_ofport`."""
    cookie = owner_of_peer(peer).cookie
    source, target = ("tun_src", "tun_dst") if peer.vtep.version == 4 else ("tun_ipv6_src", "tun_ipv6_dst")
    vni, vtep = network.tunnel.vni, int(peer.vtep)
    inwards = (Term("in_port", tunnel_ofport), Term("tun_id", vni), Term(source, vtep))
    outwards = (SetField("tun_id", vni), SetField(target, vtep), Output(tunnel_ofport))
    flows = [
        _flow(
            CLASSIFY,
            100,
            (*inwards, *_ip(destination=cidr)),
            (SetField("reg0", FROM_TUNNEL), Resubmit(NEEDS_CT)),
            cookie,
        )
        for cidr in network.pod_cidrs
    ]
    flows += [
        _flow(L3, 90, (Term("reg0", FROM_POD), *_ip(destination=cidr)), outwards, cookie) for cidr in peer.pod_cidrs
    ]
    return tuple(flows)


def _arp_responder(mac: MacAddress, address: Address, *, gateway: int, here: Term, cookie: int) -> Flow:
    """Answer the pod's question for its gateway. In software by nature; the permanent neighbour spares it."""
    asked = (
        here,
        Term("eth_src", _number(mac)),
        Term("eth_type", ETH_ARP),
        Term("arp_op", _ARP_REQUEST),
        Term("arp_sha", _number(mac)),
        Term("arp_spa", int(address)),
        Term("arp_tpa", int(GATEWAY_IPV4)),
    )
    answer: tuple[Action, ...] = (
        Move("eth_src", "eth_dst"),
        SetField("eth_src", gateway),
        SetField("arp_op", _ARP_REPLY),
        Move("arp_sha", "arp_tha"),
        SetField("arp_sha", gateway),
        Move("arp_spa", "arp_tpa"),
        SetField("arp_spa", int(GATEWAY_IPV4)),
        Output(IN_PORT),
    )
    return _flow(SPOOF, 100, asked, answer, cookie)


def _flow(table: int, priority: int, terms: Iterable[Term], actions: tuple[Action, ...], cookie: int) -> Flow:
    return Flow(table, priority, make_match(terms), actions, cookie)


def _base(table: int, priority: int, terms: Iterable[Term], actions: tuple[Action, ...]) -> Flow:
    return _flow(table, priority, terms, actions, BASE.cookie)


def _ip(*, source: Address | None = None, destination: Address | Network | None = None) -> tuple[Term, ...]:
    """Match IP packets from an address, or to an address or network."""
    end = source if source is not None else destination
    version = 4 if end is None else end.version
    name = "ip" if version == 4 else "ipv6"
    terms = [Term("eth_type", ETH_IPV4 if version == 4 else ETH_IPV6)]
    if source is not None:
        terms.append(Term(f"{name}_src", int(source)))
    if isinstance(destination, Address):
        terms.append(Term(f"{name}_dst", int(destination)))
    elif destination is not None:
        terms.append(Term(f"{name}_dst", int(destination.network_address), int(destination.netmask)))
    return tuple(terms)


def _number(mac: MacAddress) -> int:
    return int.from_bytes(mac.octets, "big")
