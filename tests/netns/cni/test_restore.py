"""DEL brings a VF home from wherever it is, as whatever it is called there."""

from __future__ import annotations

import pytest

from tests.netns.cni.conftest import VFS, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def test_a_vf_renamed_in_the_pod_comes_home(node: Node) -> None:
    before, pod, config = node.vf_link(), node.pod(), node.config(mac="0a:58:0a:01:01:02")
    assert node.call("ADD", config, netns=pod.path).status == 0
    pod.run("ip", "link", "set", "net1", "down")
    pod.run("ip", "link", "set", "net1", "name", "mine", "mtu", "1300", "address", "0a:58:0a:01:01:99")
    pod.run("ip", "link", "add", "vf0", "type", "veth", "peer", "name", "net1")
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_del_may_come_again_without_netns(node: Node) -> None:
    pod, config = node.pod(), node.config(ipam=True)
    assert node.call("ADD", config, netns=pod.path).status == 0
    for netns in (pod.path, "", "", "/var/run/netns/never-there"):
        said = node.call("DEL", config, netns=netns)
        assert (said.status, said.text) == (0, b"")
    assert node.leftovers() == []


def test_del_without_netns_finds_the_pod_by_its_record(node: Node) -> None:
    before, pod, config = node.vf_link(), node.pod(), node.config()
    assert node.call("ADD", config, netns=pod.path).status == 0
    assert node.call("DEL", config, netns="").status == 0
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_a_vf_that_came_home_under_the_pods_name_is_restored(node: Node) -> None:
    """A veth dies with its namespace, a VF goes home: the test takes it there under the pod's name, as the kernel does."""
    before, pod, config = node.vf_link(), node.pod(), node.config(mac="0a:58:0a:01:01:02", mtu=1400)
    assert node.call("ADD", config, netns=pod.path).status == 0
    pod.run("ip", "link", "property", "add", "dev", "net1", "altname", "vf0")
    pod.run("ip", "link", "set", "net1", "netns", str(node.home.keeper.pid))
    node.sysfs.place_netdev(VFS[0], "net1")
    pod.end()
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_alternative_names_come_home(node: Node) -> None:
    node.home.run("ip", "link", "property", "add", "dev", "vf0", "altname", "enp3s16", "altname", "net1")
    before, pod, config = node.vf_link(), node.pod(), node.config()
    pod.run("ip", "link", "property", "add", "dev", "lo", "altname", "enp3s16")
    assert node.call("ADD", config, netns=pod.path).status == 0
    assert "altnames" not in pod.links()["net1"]
    assert node.call("DEL", config, netns=pod.path).status == 0
    after = node.vf_link()
    assert after is not None
    assert before is not None
    assert sorted(after["altnames"]) == sorted(before["altnames"])
    assert {**after, "altnames": 0} == {**before, "altnames": 0}


def test_a_name_taken_at_home_is_said_and_the_vf_is_kept_safe(node: Node) -> None:
    pod, config = node.pod(), node.config()
    assert node.call("ADD", config, netns=pod.path).status == 0
    node.home.run("ip", "link", "add", "vf0", "type", "veth", "peer", "name", "vf0x")
    said = node.call("DEL", config, netns=pod.path)
    assert said.code == 11
    assert "its own name 'vf0' has another link now" in str(said.json["msg"])
    assert "vf000003100" in node.home.links()
    node.home.run("ip", "link", "del", "vf0")
    node.sysfs.place_netdev(VFS[0], "vf000003100")
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert "vf0" in node.home.links()
    assert node.leftovers() == []
