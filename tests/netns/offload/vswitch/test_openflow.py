"""Our OpenFlow against a real ovs-vswitchd, with ovs-ofctl as the oracle."""

from __future__ import annotations

import itertools
import os
import signal
import time
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from offload.flow import Flow, Output, Owner, OwnerKind, Term, make_match
from offload.model import Attachment, DpuState, Peer, PodNetwork, Tunnel, TunnelKind, Wiring
from offload.rules import compile_state
from offload.step import AddFlow, DeleteFlow
from offload.vswitch.openflow import open_flows
from sriov.errors import InputError, UnreachableError
from sriov.model import MacAddress
from sriov.representor import VfPort
from tests.netns.offload.conftest import OpenVswitch, wait_until

pytestmark = pytest.mark.netns

PROTOCOLS = "protocols=OpenFlow13,OpenFlow14,OpenFlow15"


def make_flows(pods: int) -> list[Flow]:
    attachments = tuple(
        Attachment(
            f"default/pod{vf}",
            "default",
            "s",
            VfPort(1, 0, vf),
            MacAddress.parse(f"0a:58:0a:01:{vf >> 8:02x}:{vf & 255:02x}"),
            (ip_interface(f"10.1.{vf >> 8}.{vf & 255}/32"), ip_interface(f"fd00:1::{vf:x}/128")),
        )
        for vf in range(pods)
    )
    network = PodNetwork(
        (ip_network("10.1.0.0/20"), ip_network("fd00:1::/64")),
        (ip_network("10.1.0.0/16"),),
        Tunnel(TunnelKind.GENEVE, 100, ip_address("192.0.2.11")),
    )
    peers = (
        Peer("four", ip_address("192.0.2.12"), (ip_network("10.1.32.0/20"), ip_network("fd00:2::/64"))),
        Peer("six", ip_address("2001:db8::12"), (ip_network("10.1.48.0/20"),)),
    )
    state = DpuState("host0", network, attachments, peers)
    wiring = Wiring(1, 2, tuple((pod.key, 256 + number) for number, pod in enumerate(attachments)))
    return list(itertools.chain.from_iterable(compile_state(state, wiring).values()))


@pytest.fixture
def switch(dummy_switch: OpenVswitch) -> OpenVswitch:
    for bridge in ("ours", "oracle"):
        dummy_switch.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "fail_mode=secure", PROTOCOLS)
    return dummy_switch


def test_what_we_program_is_what_ovs_ofctl_makes_of_the_same_text(switch: OpenVswitch) -> None:
    flows = make_flows(3)
    with open_flows(switch.folder, "ours") as connection:
        connection.apply([AddFlow(flow) for flow in flows])
    text = "\n".join(f"cookie={flow.cookie:#x},{flow}" for flow in flows)
    switch.ofctl("add-flows", "oracle", "-", input=text)
    assert switch.dump_flows("ours") == switch.dump_flows("oracle")
    assert len(switch.dump_flows("ours")) == len(flows)


def test_what_is_read_back_is_what_was_written(switch: OpenVswitch) -> None:
    flows = make_flows(300)
    with open_flows(switch.folder, "ours") as connection:
        connection.apply([AddFlow(flow) for flow in flows])
        assert set(connection.read_flows()) == set(flows)
        connection.apply([DeleteFlow(flow) for flow in flows[:100]])
        assert set(connection.read_flows()) == set(flows[100:])


def test_a_bundle_with_one_bad_flow_changes_nothing_and_names_it(switch: OpenVswitch) -> None:
    flows = make_flows(2)
    bad = Flow(200, 77, make_match([Term("in_port", 5)]), (Output(0xFFFFFF33),), flows[0].cookie)
    with open_flows(switch.folder, "ours") as connection:
        connection.apply([AddFlow(flow) for flow in flows[:5]])
        before = switch.dump_flows("ours")
        steps = [*(AddFlow(flow) for flow in flows[5:]), AddFlow(bad), DeleteFlow(flows[0])]
        with pytest.raises(InputError, match="table=200,priority=77,in_port=5 actions=output:") as caught:
            connection.apply(steps)
        assert "no flow was changed" in str(caught.value)
    assert switch.dump_flows("ours") == before


def test_a_bundle_refused_only_at_its_commit_changes_nothing_either(switch: OpenVswitch) -> None:
    flows = make_flows(2)
    switch.vsctl(
        "--id=@t",
        "create",
        "flow_table",
        "flow_limit=3",
        "overflow_policy=refuse",
        "--",
        "set",
        "bridge",
        "ours",
        "flow_tables:5=@t",
    )
    with open_flows(switch.folder, "ours") as connection:
        with pytest.raises(InputError, match="flow_mod failed, table full"):
            connection.apply([AddFlow(flow) for flow in flows])
        assert connection.read_flows() == ()


def test_the_connection_still_works_after_a_refused_bundle(switch: OpenVswitch) -> None:
    (flow, *_) = make_flows(1)
    bad = Flow(0, 1, (), (Output(0xFFFFFF33),), flow.cookie)
    with open_flows(switch.folder, "ours") as connection:
        with pytest.raises(InputError):
            connection.apply([AddFlow(bad)])
        connection.apply([AddFlow(flow)])
        assert connection.read_flows() == (flow,)


def test_a_flow_of_others_is_shown_but_never_as_ours(switch: OpenVswitch) -> None:
    switch.ofctl("add-flow", "ours", "cookie=0x5,table=3,priority=9,tcp,tp_dst=80 actions=ct(table=4)")
    switch.ofctl("add-flow", "ours", "table=4,priority=1,ip,nw_dst=10.0.0.1 actions=push_vlan:0x8100,output:3")
    with open_flows(switch.folder, "ours") as connection:
        found = {flow.table: flow for flow in connection.read_flows()}
    assert not found[3].is_ours
    assert (found[3].priority, found[3].cookie) == (9, 5)
    assert "unknown(" in str(found[4])


def test_a_dead_switch_is_noticed_and_an_idle_one_is_not_taken_for_dead(switch: OpenVswitch) -> None:
    with open_flows(switch.folder, "ours") as connection:
        assert connection.is_alive()
        begin = time.monotonic()
        assert connection.is_alive()
        assert time.monotonic() - begin < 1
        os.kill(switch.processes["ovs-vswitchd"].pid, signal.SIGKILL)
        wait_until(lambda: not connection.is_alive())
        with pytest.raises(UnreachableError, match="bridge ours: "):
            connection.read_flows()


def test_an_absent_switch_is_named_with_where_it_was_looked_for(switch: OpenVswitch) -> None:
    with pytest.raises(UnreachableError, match=r"bridge none: no answer at '.*/none.mgmt': No such file or directory"):
        open_flows(switch.folder, "none").__enter__()


def test_a_bridge_that_does_not_speak_our_version_says_so(switch: OpenVswitch) -> None:
    switch.vsctl("set", "bridge", "ours", "protocols=OpenFlow10")
    with pytest.raises(InputError, match=r"bridge ours: does not speak OpenFlow 1\.5"):
        open_flows(switch.folder, "ours").__enter__()


def test_ten_thousand_flows_go_in_and_come_back(switch: OpenVswitch) -> None:
    flows = make_flows(2000)
    assert len(flows) > 10_000
    with open_flows(switch.folder, "ours") as connection:
        connection.apply([AddFlow(flow) for flow in flows])
        assert len(connection.read_flows()) == len(flows)


def test_an_owner_can_be_found_by_its_cookie(switch: OpenVswitch) -> None:
    flows = make_flows(3)
    with open_flows(switch.folder, "ours") as connection:
        connection.apply([AddFlow(flow) for flow in flows])
    cookie = Owner(OwnerKind.ATTACHMENT, "default/pod1 default").cookie
    found = switch.ofctl("dump-flows", "ours", "--no-stats", f"cookie={cookie:#x}/-1")
    assert found.count("actions=") == len([flow for flow in flows if flow.cookie == cookie]) > 0
