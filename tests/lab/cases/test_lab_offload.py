"""Open vSwitch on the simulated e-switch: what it hands to hardware, across the VFs and between the DPUs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from tests.lab import netns
from tests.lab.eswitch import Eswitch
from tests.lab.model import LAB, Dpu
from tests.lab.switch import Switch
from tests.lab.vf import Pod, wait_for

MakePod = Callable[[str], Pod]


def add_bridge(switch: Switch, *ports: str) -> None:
    """A bridge with these ports of the DPU, numbered from 1, and no flows: what is not said is dropped."""
    words = ["add-br", "br-int", "--", "set-fail-mode", "br-int", "secure"]
    for number, port in enumerate(ports, 1):
        words += ["--", "add-port", "br-int", port, "--", "set", "Interface", port, f"ofport_request={number}"]
    switch.vsctl(*words)


def add_flows(switch: Switch, *flows: str) -> None:
    switch.ofctl("--bundle", "replace-flows", "br-int", "-", stdin="".join(f"{flow}\n" for flow in flows))


def two_pods(make_pod: MakePod) -> tuple[Pod, Pod]:
    """Pods on VFs 0 and 1 of host 0, which know each other's MAC: no ARP among the flows."""
    pods = make_pod("a"), make_pod("b")
    for number, pod in enumerate(pods):
        pod.take_vf(LAB.hosts[0], number, f"10.1.1.{number + 1}/24")
    macs = [netns.show("ip link show net1", netns=pod.name)[0]["address"] for pod in pods]
    for number, pod in enumerate(pods):
        netns.ip(
            [f"neighbour replace 10.1.1.{2 - number} lladdr {macs[1 - number]} dev net1 nud permanent"], netns=pod.name
        )
    return pods


def flows_of(switch: Switch, text: str) -> list[str]:
    """The datapath flows with a text in them that carried something."""
    return [flow for flow in switch.datapath_flows() if text in flow and "packets:0," not in flow]


STRAIGHT = ("in_port=1,ip actions=output:2", "in_port=2,ip actions=output:1")


def test_pods_on_one_dpu_are_forwarded_in_hardware(
    vfs: int, make_pod: MakePod, eswitches: tuple[Eswitch, ...], switches: tuple[Switch, ...]
) -> None:
    a, _ = two_pods(make_pod)
    add_bridge(switches[0], "pf0vf0", "pf0vf1")
    assert not a.pings("10.1.1.2", wait=1), "there are no flows yet"
    add_flows(switches[0], *STRAIGHT)
    assert a.pings("10.1.1.2", count=5)
    flows = flows_of(switches[0], "eth_type(0x0800)")
    assert len(flows) == 2
    assert all("offloaded:yes" in flow and "dp:tc" in flow for flow in flows), flows
    assert {"pf0vf0", "pf0vf1"} <= {rule["dev"] for rule in eswitches[0].rules()}
    shown = netns.run(["tc", "filter", "show", "dev", "pf0vf0", "ingress"], netns="dpu0")
    assert "in_hw in_hw_count 1" in shown
    assert "not_in_hw" not in shown


CONNTRACK = (
    "table=0,ip actions=ct(zone=7,table=1)",
    "table=1,ct_state=+trk+new,in_port=1,ip actions=ct(commit,zone=7),output:2",
    "table=1,ct_state=+trk+est,in_port=1,ip actions=output:2",
    "table=1,ct_state=+trk+est,in_port=2,ip actions=output:1",
)


def talk(client: Pod, server: Pod, address: str) -> str:
    """Move some bytes over TCP."""
    listener = subprocess.Popen(["ip", "netns", "exec", server.name, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: "5201" in server.run("ss", "-ltn"), "iperf3 to listen")
        return client.run("iperf3", "-c", address, "-t", "2")
    finally:
        listener.wait(30)


def test_conntrack_is_offloaded_with_its_chains(
    vfs: int, make_pod: MakePod, eswitches: tuple[Eswitch, ...], switches: tuple[Switch, ...]
) -> None:
    a, b = two_pods(make_pod)
    add_bridge(switches[0], "pf0vf0", "pf0vf1")
    add_flows(switches[0], *CONNTRACK)
    talk(a, b, "10.1.1.2")
    flows = flows_of(switches[0], "eth_type(0x0800)")
    assert any("ct(zone=7" in flow for flow in flows)
    assert any("recirc_id(0)" not in flow for flow in flows)
    assert all("offloaded:yes" in flow for flow in flows), flows
    assert {rule["chain"] for rule in eswitches[0].rules()} > {"0"}
    assert eswitches[0].counts()["ct_entries:7"] >= 2
    assert "[HW_OFFLOAD]" in netns.run(["conntrack", "-L", "-w", "7"], netns="dpu0")


def add_tunnel(switch: Switch, peer: Dpu, kind: str) -> None:
    """The uplink and the VTEP's address on one bridge, as the agent lays it out, and a tunnel to the other DPU."""
    dpu = switch.dpu
    add_bridge(switch, dpu.representor(0), dpu.uplink)
    tunnel = ["--", "add-port", "br-int", "tun", "--", "set", "Interface", "tun", "ofport_request=3", f"type={kind}"]
    switch.vsctl(*tunnel[1:], f"options:remote_ip={peer.vtep}", "options:key=100")
    netns.ip([f"address add {dpu.vtep}/{LAB.underlay_prefix} dev br-int", "link set br-int up"], netns=dpu.netns)
    add_flows(
        switch,
        "in_port=2 actions=LOCAL",
        "in_port=LOCAL actions=output:2",
        "in_port=1,ip actions=output:3",
        "in_port=3,ip actions=output:1",
    )


@pytest.mark.parametrize(("kind", "device"), [("geneve", "genev_sys_6081"), ("vxlan", "vxlan_sys_4789")])
def test_pods_on_two_dpus_meet_in_a_tunnel_in_hardware(
    vfs: int, make_pod: MakePod, eswitches: tuple[Eswitch, ...], switches: tuple[Switch, ...], kind: str, device: str
) -> None:
    pods = []
    for host in LAB.hosts:
        pod = make_pod(f"on{host.index}")
        pod.take_vf(host, 0, f"10.1.1.{host.index + 1}/24")
        pods.append(pod)
    macs = [netns.show("ip link show net1", netns=pod.name)[0]["address"] for pod in pods]
    for number, pod in enumerate(pods):
        netns.ip(
            [f"neighbour replace 10.1.1.{2 - number} lladdr {macs[1 - number]} dev net1 nud permanent"], netns=pod.name
        )
    for switch in switches:
        add_tunnel(switch, LAB.dpus[1 - switch.dpu.index], kind)
    assert pods[0].pings("10.1.1.2", count=10)
    for switch in switches:
        out = flows_of(switch, "set(tunnel(tun_id=0x64")
        back = flows_of(switch, "recirc_id(0),tunnel(") or flows_of(switch, f"in_port({device})")
        assert out
        assert back
        assert all("offloaded:yes" in flow for flow in [*out, *back]), (out, back)
        assert device in {rule["dev"] for rule in eswitches[switch.dpu.index].rules()}


def test_the_outside_is_reached_through_the_uplink(lab: object, switches: tuple[Switch, ...]) -> None:
    for switch in switches:
        add_bridge(switch, switch.dpu.uplink)
        add_flows(switch, "in_port=1 actions=LOCAL", "in_port=LOCAL actions=output:1")
        dpu, outside = switch.dpu, LAB.external
        lines = [
            f"address add {dpu.vtep}/{LAB.underlay_prefix} dev br-int",
            "link set br-int up",
            f"route add default via {outside.gateway}",
        ]
        netns.ip(lines, netns=dpu.netns)
        for address in (outside.gateway, outside.host):
            netns.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "5", address], netns=dpu.netns)


def test_a_full_table_leaves_flows_in_software(
    vfs: int, make_pod: MakePod, eswitches: tuple[Eswitch, ...], switches: tuple[Switch, ...]
) -> None:
    a, _ = two_pods(make_pod)
    eswitches[0].set_capacity(0)
    add_bridge(switches[0], "pf0vf0", "pf0vf1")
    add_flows(switches[0], *STRAIGHT)
    assert a.pings("10.1.1.2", count=5), "software forwards all the same"
    flows = flows_of(switches[0], "eth_type(0x0800)")
    assert flows
    assert not any("offloaded:yes" in flow for flow in flows), flows
    assert eswitches[0].counts()["table_full"] > 0
    assert "not_in_hw" in netns.run(["tc", "filter", "show", "dev", "pf0vf0", "ingress"], netns="dpu0")


def test_a_refused_action_leaves_its_flow_in_software(
    vfs: int, make_pod: MakePod, eswitches: tuple[Eswitch, ...], switches: tuple[Switch, ...]
) -> None:
    a, b = two_pods(make_pod)
    eswitches[0].refuse("ct")
    add_bridge(switches[0], "pf0vf0", "pf0vf1")
    add_flows(switches[0], *CONNTRACK)
    talk(a, b, "10.1.1.2")
    flows = flows_of(switches[0], "eth_type(0x0800)")
    first = [flow for flow in flows if re.search(r"recirc_id\(0\)", flow)]
    assert first
    assert not any("offloaded:yes" in flow for flow in first), first
    assert eswitches[0].counts()["refused:ct"] > 0


def test_a_restarted_switch_offloads_again_and_can_be_told_not_to(
    vfs: int, make_pod: MakePod, eswitches: tuple[Eswitch, ...], switches: tuple[Switch, ...]
) -> None:
    a, _ = two_pods(make_pod)
    add_bridge(switches[0], "pf0vf0", "pf0vf1")
    try:
        switches[0].set_hw_offload(on=False)
        add_flows(switches[0], *STRAIGHT)
        assert a.pings("10.1.1.2", count=5)
        assert eswitches[0].rules() == []
        assert all("dp:ovs" in flow for flow in flows_of(switches[0], "eth_type(0x0800)"))
    finally:
        switches[0].set_hw_offload(on=True)
    add_flows(switches[0], *STRAIGHT)
    assert a.pings("10.1.1.2", count=5)
    assert all("offloaded:yes" in flow for flow in flows_of(switches[0], "eth_type(0x0800)"))
