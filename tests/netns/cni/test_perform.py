"""ADD and DEL of veth ends that stand in for VFs, through the daemon and without it."""

from __future__ import annotations

import json
import signal

import pytest

from tests.netns.cni.conftest import VFS, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def test_a_vf_is_in_the_pod_after_add_and_as_before_after_del(node: Node) -> None:
    before, pod = node.vf_link(), node.pod()
    config = node.config(mac="0A:58:0a:01:01:02", mtu=1400)
    added = node.call("ADD", config, netns=pod.path)
    assert added.status == 0, added
    link = pod.links()["net1"]
    assert (link["address"], link["mtu"]) == ("0a:58:0a:01:01:02", 1400)
    assert added.json["interfaces"] == [
        {"name": "net1", "mac": "0a:58:0a:01:01:02", "mtu": 1400, "sandbox": pod.path, "pciID": VFS[0]}
    ]
    assert "vf0" not in node.home.links()
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert node.vf_link() == before
    assert node.leftovers() == []


def test_addresses_and_routes_are_as_ipam_says(node: Node) -> None:
    pod, config = node.pod(), node.config(ipam=True)
    added = node.call("ADD", config, netns=pod.path)
    assert added.status == 0, added
    assert added.json["ips"] == [
        {"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0},
        {"address": "fd09::2/64", "gateway": "fd09::1", "interface": 0},
    ]
    assert added.json["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]
    routes = {route["dst"]: route.get("gateway") for route in pod.ip("route")}
    assert routes == {"default": "10.9.0.1", "10.9.0.0/24": None}
    assert node.leftovers() == ["0000:03:10.0", "10.9.0.2", "c1-net1.json", "fd09::2"]
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert node.leftovers() == []


def test_routed_mode_needs_nobody_to_answer_for_the_gateway(node: Node) -> None:
    pod, config = node.pod(), node.config(ipam=True, routes={"mtu": 1400})
    added = node.call("ADD", config, netns=pod.path)
    assert added.status == 0, added
    assert added.json["ips"] == [
        {"address": "10.9.0.2/32", "gateway": "169.254.1.1", "interface": 0},
        {"address": "fd09::2/128", "gateway": "fe80::1", "interface": 0},
    ]
    assert added.json["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "169.254.1.1", "mtu": 1400},
        {"dst": "::/0", "gw": "fe80::1", "mtu": 1400},
    ]
    assert pod.links()["net1"]["mtu"] == 1500
    neighbours = {entry["dst"]: (entry["lladdr"], entry["state"]) for entry in pod.ip("neighbour")}
    permanent = ("0a:58:a9:fe:01:01", ["PERMANENT"])
    assert neighbours == {"169.254.1.1": permanent, "fe80::1": permanent}
    default = next(route for route in pod.ip("route") if route["dst"] == "default")
    assert (default["gateway"], default["metrics"]) == ("169.254.1.1", [{"mtu": 1400}])
    default6 = next(route for route in pod.ip("-6", "route") if route["dst"] == "default")
    assert (default6["gateway"], default6["metrics"]) == ("fe80::1", [{"mtu": 1400}])


def test_killing_the_daemon_between_add_and_del_changes_nothing_for_the_caller(idle_node: Node) -> None:
    node = idle_node
    node.start_daemon()
    before, pod, config = node.vf_link(), node.pod(), node.config(ipam=True)
    assert node.call("ADD", config, netns=pod.path).status == 0
    node.stop_daemon(signal.SIGKILL)
    assert node.socket.exists()
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_a_late_del_does_not_touch_the_next_pods_vf(node: Node) -> None:
    first, second, config = node.pod(), node.pod(), node.config(ipam=True)
    assert node.call("ADD", config, netns=first.path).status == 0
    # The first pod's namespace dies; the VF is at home, and kubelet gives it to the next pod before DEL has come.
    first.run("ip", "link", "set", "net1", "netns", str(node.home.keeper.pid))
    node.sysfs.place_netdev(VFS[0], "net1")
    first.end()
    # This ADD takes the VF from the dead pod. The tree stands still and does not show its new name, so it takes two.
    assert node.call("ADD", config, netns=second.path, container="c2").code == 11
    assert node.leftovers() == []
    node.sysfs.place_netdev(VFS[0], "vf0")
    assert node.call("ADD", config, netns=second.path, container="c2").status == 0
    assert node.call("DEL", config, netns=first.path).status == 0
    assert "net1" in second.links()
    assert node.call("DEL", config, netns=second.path, container="c2").status == 0
    assert "vf0" in node.home.links()
    assert node.leftovers() == []


def test_an_add_that_fails_late_is_taken_back_whole(node: Node) -> None:
    """The route is the last step, and its gateway is nowhere: the VF is in the pod by then, and has addresses."""
    before, pod, config = node.vf_link(), node.pod(), node.config(ipam=True, mac="0a:58:0a:01:01:02", mtu=1400)
    config["ipam"]["routes"] = [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}]
    said = node.call("ADD", config, netns=pod.path)
    assert said.code == 102
    assert "kernel refused to add route 0.0.0.0/0 via 192.0.2.1: ENETUNREACH" in str(said.json["msg"])
    assert (node.vf_link(), node.leftovers(), set(pod.links())) == (before, [], {"lo"})


def test_gc_undoes_what_the_runtime_does_not_name(node: Node) -> None:
    kept, lost = node.pod(), node.pod()
    assert node.call("ADD", node.config(0), netns=kept.path, container="kept").status == 0
    assert node.call("ADD", node.config(1), netns=lost.path, container="lost").status == 0
    valid = {"cni.dev/valid-attachments": [{"containerID": "kept", "ifname": "net1"}]}
    said = node.call("GC", {**node.config(), "cniVersion": "1.1.0", **valid})
    assert said.status == 0, said
    assert node.leftovers() == ["0000:03:10.0", "kept-net1.json"]
    assert {"vf1"} == {"vf0", "vf1"} & set(node.home.links())


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_the_result_is_in_the_configurations_version(idle_node: Node, version: str) -> None:
    pod = idle_node.pod()
    added = idle_node.call("ADD", idle_node.config(ipam=True, cniVersion=version), netns=pod.path)
    assert added.status == 0, added
    assert added.json["cniVersion"] == version
    assert ("ip4" in added.json) == (version < "0.3.0")


def test_a_chain_keeps_what_came_before(node: Node) -> None:
    previous = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": "0a:00:00:00:00:01", "sandbox": "/x"}],
        "ips": [{"address": "10.1.0.5/24", "interface": 0}],
    }
    added = node.call("ADD", node.config(ipam=True, prevResult=previous), netns=node.pod().path)
    assert added.status == 0, added
    interfaces, ips = added.json["interfaces"], added.json["ips"]
    assert [interface["name"] for interface in interfaces] == ["eth0", "net1"]
    assert [(ip["address"], ip["interface"]) for ip in ips] == [
        ("10.1.0.5/24", 0), ("10.9.0.2/24", 1), ("fd09::2/64", 1),
    ]  # fmt: skip


def test_twenty_pods_at_once_over_four_vfs_lose_none(node: Node) -> None:
    """Five pods want each VF; one gets it, the others are told to try again later."""
    before = [node.vf_link(vf) for vf in range(4)]
    pods = [node.pod() for _ in range(20)]
    calls = [
        node.start("ADD", node.config(number % 4, ipam=True), netns=pod.path, container=f"c{number}")
        for number, pod in enumerate(pods)
    ]
    statuses = []
    for call in calls:
        text, _ = call.communicate(timeout=50)
        statuses.append(json.loads(text).get("code", 0))
    assert sorted(statuses) == [0] * 4 + [11] * 16
    calls = [
        node.start("DEL", node.config(number % 4, ipam=True), netns=pod.path, container=f"c{number}")
        for number, pod in enumerate(pods)
    ]
    assert [call.communicate(timeout=50)[0] for call in calls] == [b""] * 20
    assert [node.vf_link(vf) for vf in range(4)] == before
    assert node.leftovers() == []
