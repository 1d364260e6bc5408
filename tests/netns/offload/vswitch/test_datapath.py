"""Datapath flows read from a real ovs-vswitchd."""

from __future__ import annotations

import pytest

from offload.vswitch.datapath import read_datapath
from sriov.errors import InputError
from tests.netns.offload.conftest import OpenVswitch

pytestmark = pytest.mark.netns

PACKET = (
    "in_port(1),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0800),"
    "ipv4(src=10.1.1.2,dst=10.1.1.3,proto=6,tos=0,ttl=64,frag=no),tcp(src=8,dst=80)"
)


def test_every_flow_of_a_real_dump_is_read(dummy_switch: OpenVswitch) -> None:
    ports = [f"-- add-port br0 p{number} -- set interface p{number} ofport_request={number}" for number in (1, 2, 3)]
    dummy_switch.vsctl("add-br", "br0", *" ".join(ports).split())
    dummy_switch.ofctl("add-flow", "br0", "in_port=1,ip actions=set_field:02:00:00:00:00:01->eth_dst,output:2,output:3")
    dummy_switch.ofctl("add-flow", "br0", "in_port=2,ip actions=ct(table=1)")
    dummy_switch.appctl("netdev-dummy/receive", "p1", PACKET)
    dummy_switch.appctl("netdev-dummy/receive", "p2", PACKET.replace("in_port(1)", "in_port(2)"))
    dump = read_datapath(dummy_switch.folder, "system")
    assert dump.unknown == 0
    found = {(flow.in_port, flow.recirculation > 0): flow for flow in dump.flows}
    assert found["p1", False].outputs == ("p2", "p3")
    assert found["p1", False].eth_type == 0x800
    assert found["p2", False].uses_ct
    assert found["p2", False].recirculates_to


def test_a_datapath_that_is_not_there_is_said_to_be_so(dummy_switch: OpenVswitch) -> None:
    with pytest.raises(InputError, match="dpctl/dump-flows"):
        read_datapath(dummy_switch.folder, "nothing")
