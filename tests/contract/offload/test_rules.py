"""Our interpreter of flows and Open vSwitch's own (ofproto/trace) send the same packets to the same ports."""

from __future__ import annotations

import itertools
import random
import re
from ipaddress import IPv4Address, ip_address

import pytest

from offload.flow import ETH_IPV4
from offload.model import Wiring
from offload.rules import compile_state
from offload.step import AddFlow
from offload.vswitch.openflow import open_flows
from tests.fakes.flowtable import FakeFlowTable
from tests.netns.offload.conftest import OpenVswitch
from tests.unit.offload.samples import make_attachment, make_state

pytestmark = pytest.mark.netns

PODS = [make_attachment(vf) for vf in range(3)]
UPLINK, TUNNEL, FIRST = 1, 2, 300
WIRING = Wiring(UPLINK, TUNNEL, tuple((pod.key, FIRST + number) for number, pod in enumerate(PODS)))
MACS = [int.from_bytes(pod.mac.octets, "big") for pod in PODS] + [0x0A58A9FE0101, 0xFFFFFFFFFFFF, 0x020000000001]
ADDRESSES = [f"10.1.1.{number}" for number in (2, 3, 4, 200)] + ["10.1.2.2", "10.1.9.9", "8.8.8.8", "169.254.1.1"]


def make_packet(chosen: random.Random) -> dict[str, int]:
    packet = {
        "in_port": chosen.choice([UPLINK, FIRST, FIRST + 1, FIRST + 2, 999]),
        "eth_src": chosen.choice(MACS),
        "eth_dst": chosen.choice(MACS),
        "eth_type": ETH_IPV4,
        "ip_src": int(ip_address(chosen.choice(ADDRESSES))),
        "ip_dst": int(ip_address(chosen.choice(ADDRESSES))),
    }
    pod = packet["in_port"] - FIRST
    if 0 <= pod < len(PODS) and chosen.random() < 0.8:
        # Mostly as the pod really sends, or all would be dropped as spoofed.
        packet |= {"eth_src": MACS[pod], "eth_dst": MACS[3], "ip_src": int(PODS[pod].ips[0].ip)}
    return packet


def trace(switch: OpenVswitch, packet: dict[str, int]) -> list[int]:
    words = [f"in_port={packet['in_port']}", "ip"]
    words += [f"dl_{end}={packet[f'eth_{end}'].to_bytes(6, 'big').hex(':')}" for end in ("src", "dst")]
    words += [f"nw_{end}={IPv4Address(packet[f'ip_{end}'])}" for end in ("src", "dst")]
    told = switch.appctl("ofproto/trace", "br-int", ",".join(words))
    # A packet is not sent back where it came from unless IN_PORT says so; the trace tells that on the next line.
    told = re.sub(r"^\s+output:\d+\n\s+>> skipping output to input port$", "", told, flags=re.MULTILINE)
    ports = re.findall(r"^\s+(?:output:(\d+)|(LOCAL))$", told, re.MULTILINE)
    return [int(number) if number else 0xFFFFFFFE for number, _ in ports]


def test_random_packets_go_where_open_vswitch_says(dummy_switch: OpenVswitch) -> None:
    ports = {UPLINK: "p0", TUNNEL: "t0", **{FIRST + number: f"eth{number}" for number in range(3)}}
    words = [
        f"-- add-port br-int {name} -- set interface {name} ofport_request={number}" for number, name in ports.items()
    ]
    dummy_switch.vsctl(
        "add-br",
        "br-int",
        "--",
        "set",
        "bridge",
        "br-int",
        "fail_mode=secure",
        "protocols=OpenFlow15",
        *" ".join(words).split(),
    )
    flows = list(itertools.chain.from_iterable(compile_state(make_state(*PODS, peers=2), WIRING).values()))
    with open_flows(dummy_switch.folder, "br-int") as connection:
        connection.apply([AddFlow(flow) for flow in flows])
    table, chosen, sent = FakeFlowTable(flows), random.Random(7), 0
    for _ in range(150):
        packet = make_packet(chosen)
        ours = [out.port for out in table.send(packet)]
        assert ours == trace(dummy_switch, packet), packet
        sent += len(ours)
    assert sent > 30
