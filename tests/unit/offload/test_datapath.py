from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from offload.datapath import parse_dump, parse_flow, split_top

# Seen on Open vSwitch 3.5.0 with a kernel datapath and offload, addresses of the documentation ranges put in.
LOCAL = (
    "ufid:b5e9f0c2-3f0e-4f55-8f3e-1a2b3c4d5e6f, skb_priority(0/0),skb_mark(0/0),ct_state(0/0),ct_zone(0/0),ct_mark(0/0),"
    "ct_label(0/0),recirc_id(0),dp_hash(0/0),in_port(pf0vf0),packet_type(ns=0/0,id=0/0),"
    "eth(src=0a:58:0a:01:01:02,dst=0a:58:a9:fe:01:01),eth_type(0x0800),"
    "ipv4(src=10.1.1.2,dst=10.1.1.3,proto=0/0,tos=0/0,ttl=0/0,frag=no), packets:9, bytes:882, used:0.400s, "
    "offloaded:yes, dp:tc, actions:set(eth(src=0a:58:a9:fe:01:01,dst=0a:58:0a:01:01:03)),pf0vf1"
)
TO_TUNNEL = (
    "ufid:00000000-0000-0000-0000-000000000001, recirc_id(0),in_port(pf0vf0),eth_type(0x0800),"
    "ipv4(src=10.1.1.2,dst=10.1.2.0/255.255.255.0,frag=no), packets:3, bytes:1, used:never, dp:ovs, "
    "actions:set(tunnel(tun_id=0x64,dst=192.0.2.12,ttl=64,tp_dst=6081,flags(df|key))),genev_sys_6081"
)
FROM_TUNNEL = (
    "ufid:00000000-0000-0000-0000-000000000002, "
    "tunnel(tun_id=0x64,src=192.0.2.12,dst=192.0.2.11,ttl=0/0,geneve(),flags(-df-csum+key)),"
    "recirc_id(0),in_port(genev_sys_6081),eth_type(0x0800),ipv4(dst=10.1.1.2,frag=no), packets:3, bytes:1, "
    "used:0.1s, offloaded:yes, dp:tc, actions:set(eth(dst=0a:58:0a:01:01:02)),pf0vf0"
)
WITH_CT = (
    "ufid:00000000-0000-0000-0000-000000000003, ct_state(0x22/0x22),recirc_id(0x3),in_port(pf0vf0),eth_type(0x86dd),"
    "ipv6(dst=fd00::/16,frag=no), packets:0, bytes:0, used:never, dp:tc, "
    "actions:ct(commit,zone=53249,nat(dst=10.1.1.3:8080)),recirc(0x28)"
)
SLOW_PATH = (
    "ufid:00000000-0000-0000-0000-000000000004, recirc_id(0),in_port(pf0vf0),eth_type(0x0806), packets:0, bytes:0, "
    "used:never, dp:ovs, actions:userspace(pid=4294967295,slow_path(action))"
)


def test_a_flow_between_two_pods_is_read() -> None:
    flow = parse_flow(LOCAL)
    assert flow is not None
    assert (flow.in_port, flow.outputs, flow.eth_type) == ("pf0vf0", ("pf0vf1",), 0x800)
    assert (flow.packets, flow.layer, flow.offloaded) == (9, "tc", "yes")
    assert (flow.is_from_tunnel, flow.is_to_tunnel, flow.uses_ct) == (False, False, False)


def test_flows_of_the_tunnel_are_known_in_both_directions() -> None:
    out, back = parse_flow(TO_TUNNEL), parse_flow(FROM_TUNNEL)
    assert out is not None
    assert back is not None
    assert (out.is_to_tunnel, out.is_from_tunnel, out.outputs) == (True, False, ("genev_sys_6081",))
    assert (back.is_to_tunnel, back.is_from_tunnel, back.in_port) == (False, True, "genev_sys_6081")
    assert (out.layer, out.offloaded) == ("ovs", "")


def test_recirculation_and_connection_tracking_are_seen() -> None:
    flow = parse_flow(WITH_CT)
    assert flow is not None
    assert (flow.recirculation, flow.recirculates_to, flow.uses_ct, flow.outputs) == (3, (0x28,), True, ())


def test_a_flow_that_goes_to_userspace_has_no_output() -> None:
    flow = parse_flow(SLOW_PATH)
    assert flow is not None
    assert flow.outputs == ()


def test_what_is_not_known_is_counted() -> None:
    dump = parse_dump(
        "\n".join(["flow-dump from the main thread:", LOCAL, "recirc_id(0),in_port(1), actions:2", WITH_CT])
    )
    assert len(dump.flows) == 2
    assert dump.unknown == 1


@given(st.text(alphabet="ufid:-0(),actions recirc_id in_port eth_type/x1", max_size=200))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    parse_dump(text)
    parse_dump(LOCAL[:90] + text + " actions:" + text)


@given(st.lists(st.text(alphabet="abc0=/", min_size=1), max_size=5))
def test_commas_split_where_no_parenthesis_is_open(parts: list[str]) -> None:
    assert list(split_top(",".join(parts))) == [part for part in parts if part.strip()]
    assert list(split_top(f"set({','.join(parts)}),end"))[-1] == "end"
