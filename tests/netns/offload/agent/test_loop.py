"""The agent, as a process, on real Open vSwitch: what it does to the switch, and what pods see of it."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.netns.offload.conftest import Dpu, Underlay, run, wait_until

pytestmark = pytest.mark.netns


def test_pods_talk_on_one_dpu_and_across_two(underlay: Underlay) -> None:
    one, two = underlay.add_dpu(pods=2), underlay.add_dpu(pods=1)
    one.peers, two.peers = [2], [1]
    for dpu in (one, two):
        dpu.write_state()
        dpu.start_agent()
    for dpu in (one, two):
        dpu.wait_for_flows(10)
    assert one.pods[0].ping(one.pods[1])
    wait_until(lambda: one.pods[0].ping(two.pods[0]), what=one.agent_log)
    assert two.pods[0].ping(one.pods[1])


def test_a_spoofed_address_reaches_nobody(dpu: Dpu) -> None:
    liar, victim = dpu.pods
    assert liar.ping(victim)
    run("ip", "-n", liar.netns, "address", "add", "10.1.1.77/32", "dev", "eth0")
    spoofed = ["ip", "netns", "exec", liar.netns, "ping", "-n", "-c", "1", "-W", "1", "-I", "10.1.1.77", victim.address]
    assert subprocess.run(spoofed, capture_output=True, check=False).returncode != 0
    run("ip", "-n", liar.netns, "link", "set", "eth0", "address", "0a:58:0a:01:01:99")
    assert not liar.ping(victim, count=1)


def test_a_port_carries_what_a_restarted_agent_must_know(dpu: Dpu) -> None:
    ids = dpu.switch.vsctl("--format=json", "--columns=external_ids", "find", "interface", "name=rep0")
    pairs = dict(json.loads(ids)["data"][0][0][1])
    assert pairs == {
        "attached_mac": "0a:58:0a:01:01:02",
        "dpukit-owner": "default/pod1-0 default",
        "iface-id": "default_pod1-0",
        "ip_addresses": "10.1.1.2/32",
        "sandbox": "sandbox-pod1-0",
        "vf-netdev-name": "rep0",
    }
    assert dpu.switch.vsctl("get", "bridge", "br-int", "fail_mode") == "secure"


def test_vswitchd_killed_and_started_again_has_its_flows_back(dpu: Dpu) -> None:
    before = dpu.switch.dump_flows("br-int")
    dpu.switch.stop("ovs-vswitchd", signal.SIGKILL)
    for left in dpu.switch.folder.glob("ovs-vswitchd.*.ctl"):
        left.unlink()
    dpu.switch.start_vswitchd()
    dpu.wait_for_flows(len(before))
    assert dpu.switch.dump_flows("br-int") == before
    wait_until(lambda: dpu.pods[0].ping(dpu.pods[1]))
    wait_until(lambda: "ovs-vswitchd is back and has its flows" in dpu.agent_log())


def test_an_agent_killed_and_started_again_changes_nothing(dpu: Dpu) -> None:
    before = dpu.switch.ofctl("dump-flows", "br-int")
    dpu.stop_agent(signal.SIGKILL)
    lines = len(dpu.agent_log().splitlines())
    dpu.start_agent()
    wait_until(lambda: dpu.call("dpukit", "offload", "status")[0] == 0)
    assert dpu.pods[0].ping(dpu.pods[1])
    # Nothing changed, so nothing was said.
    assert dpu.agent_log().splitlines()[lines:] == []
    assert strip_figures(dpu.switch.ofctl("dump-flows", "br-int")) == strip_figures(before)
    assert dpu.stop_agent() == 0


def strip_figures(dump: str) -> list[str]:
    keep = ("cookie", "table", "priority")
    return sorted(
        ",".join(part for part in line.split(",") if part.strip().startswith(keep) or "actions" in part)
        for line in dump.splitlines()
        if "actions=" in line
    )


def test_a_pod_that_leaves_takes_its_port_and_flows_along(dpu: Dpu) -> None:
    gone = dpu.pods.pop()
    dpu.write_state()
    wait_until(lambda: gone.representor not in dpu.switch.vsctl("list-ports", "br-int").split())
    # The port goes in the database's transaction, the flows in the bundle right after it.
    wait_until(lambda: not [line for line in dpu.switch.dump_flows("br-int") if gone.address in line])
    assert not dpu.pods[0].ping(gone, count=1)


def test_foreign_ports_and_flows_stay(dpu: Dpu) -> None:
    run("ip", "-n", dpu.netns, "link", "add", "foreign0", "type", "veth", "peer", "name", "foreign1")
    dpu.switch.vsctl(
        "add-port",
        "br-int",
        "foreign0",
        "--",
        "add-br",
        "br-other",
        "--",
        "set",
        "bridge",
        "br-other",
        "datapath_type=netdev",
    )
    dpu.switch.ofctl("add-flow", "br-int", "cookie=0x77,table=9,priority=7,actions=drop")
    dpu.pods.pop()
    dpu.write_state()
    wait_until(lambda: "rep1" not in dpu.switch.vsctl("list-ports", "br-int").split())
    assert "foreign0" in dpu.switch.vsctl("list-ports", "br-int").split()
    assert "br-other" in dpu.switch.vsctl("list-br").split()
    assert any("cookie=0x77" in line for line in dpu.switch.dump_flows("br-int"))


def test_a_renamed_representor_stays_the_pods(dpu: Dpu) -> None:
    run("ip", "-n", dpu.netns, "link", "set", "rep1", "down")
    run("ip", "-n", dpu.netns, "link", "set", "rep1", "name", "eth77")
    for name in list((dpu.folder / "sys/class/net/rep1").iterdir()):
        name.unlink()
    (dpu.folder / "sys/class/net/rep1").rmdir()
    dpu.name_port("eth77", "c1pf0vf1")
    dpu.write_state()
    wait_until(lambda: "eth77" in dpu.switch.vsctl("list-ports", "br-int").split(), what=dpu.agent_log)
    wait_until(lambda: dpu.pods[0].ping(dpu.pods[1]), what=dpu.agent_log)
    assert "rep1" not in dpu.switch.vsctl("list-ports", "br-int").split()


def test_a_broken_new_state_changes_nothing_and_is_reported(dpu: Dpu) -> None:
    before = dpu.switch.dump_flows("br-int")
    state = dpu.state()
    state["attachmints"] = state.pop("attachments")
    dpu.write_state(state)
    wait_until(lambda: "did you mean 'attachments'?" in dpu.agent_log())
    assert "the one before stays in force" in dpu.agent_log()
    assert dpu.switch.dump_flows("br-int") == before
    assert dpu.pods[0].ping(dpu.pods[1])


def test_a_pod_without_representor_is_named_and_the_others_work(underlay: Underlay) -> None:
    dpu = underlay.add_dpu(pods=2)
    state = dpu.state()
    state["attachments"].append(
        {"pod": "default/lost", "sandboxId": "x", "vf": 40, "mac": "0a:58:0a:01:01:40", "ips": ["10.1.1.40/32"]}
    )
    dpu.write_state(state)
    dpu.start_agent()
    dpu.wait_for_flows(15)
    assert dpu.pods[0].ping(dpu.pods[1])
    assert "VF c1pf0vf40: has no representor; seen: c1pf0vf0 (rep0), c1pf0vf1 (rep1)" in dpu.agent_log()


def test_two_representors_that_fit_are_refused_until_the_switch_is_named(underlay: Underlay) -> None:
    dpu = underlay.add_dpu(pods=2)
    run("ip", "-n", dpu.netns, "link", "add", "twin0", "type", "veth", "peer", "name", "twin1")
    dpu.name_port("twin0", "c1pf0vf1", switch_id="00aabb")
    dpu.write_state()
    dpu.start_agent()
    wait_until(lambda: "VF c1pf0vf1: has 2 representors" in dpu.agent_log())
    assert not dpu.pods[0].ping(dpu.pods[1], count=1)
    assert dpu.stop_agent() == 0
    dpu.write_config(switchId="00e1c20f0a5b")
    dpu.start_agent()
    wait_until(lambda: dpu.pods[0].ping(dpu.pods[1], count=1))


def test_without_an_uplink_the_pods_here_talk_all_the_same(underlay: Underlay) -> None:
    dpu = underlay.add_dpu(pods=2)
    for name in (dpu.folder / "sys/class/net/p0").iterdir():
        name.unlink()
    dpu.write_config(uplink="auto")
    dpu.write_state()
    dpu.start_agent()
    wait_until(lambda: dpu.pods[0].ping(dpu.pods[1], count=1), what=dpu.agent_log)
    wait_until(lambda: "uplink: no physical port of an eswitch is in this namespace" in dpu.agent_log())


def test_a_database_that_was_away_is_served_again(dpu: Dpu) -> None:
    dpu.switch.stop("ovsdb-server")
    gone = dpu.pods.pop()
    dpu.write_state()
    wait_until(lambda: "cannot work, trying again" in dpu.agent_log(), within_s=30, what=dpu.agent_log)
    dpu.switch.start_database()
    wait_until(lambda: gone.representor not in dpu.switch.vsctl("list-ports", "br-int").split(), within_s=30)
    wait_until(lambda: "works again" in dpu.agent_log(), what=dpu.agent_log)


def test_what_somebody_deletes_of_ours_comes_back(dpu: Dpu) -> None:
    dpu.switch.vsctl("del-port", "br-int", "rep1")
    wait_until(lambda: dpu.pods[0].ping(dpu.pods[1], count=1), what=dpu.agent_log)
    dpu.switch.vsctl("del-br", "br-int")
    wait_until(lambda: dpu.pods[0].ping(dpu.pods[1], count=1), within_s=30, what=dpu.agent_log)
