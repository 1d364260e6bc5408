"""DEL brings a VF home from wherever it is, as whatever it is called there."""

from __future__ import annotations

import json

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
    # Real sysfs no longer names the device; a stale name would let the stranger pass for it.
    node.sysfs.place_netdev(VFS[0], None)
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


def test_an_alternative_name_that_is_another_links_by_now_does_not_keep_the_vf(node: Node) -> None:
    node.home.run("ip", "link", "property", "add", "dev", "vf0", "altname", "enp3s16", "altname", "enp3s17")
    before, pod, config = node.vf_link(), node.pod(), node.config()
    assert before is not None
    assert node.call("ADD", config, netns=pod.path).status == 0
    node.home.run("ip", "link", "property", "add", "dev", "wire1", "altname", "enp3s16")
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert node.vf_link() == {**before, "altnames": ["enp3s17"]}
    assert node.leftovers() == []


def test_del_with_another_pods_namespace_finds_its_own(node: Node) -> None:
    before, pod, other = node.vf_link(), node.pod(), node.pod()
    assert node.call("ADD", node.config(0), netns=pod.path).status == 0
    assert node.call("ADD", node.config(1), container="c2", netns=other.path).status == 0
    assert node.call("DEL", node.config(0), netns=other.path).status == 0
    assert (node.vf_link(), "net1" in other.links()) == (before, True)
    assert node.call("DEL", node.config(1), container="c2", netns=other.path).status == 0
    assert node.leftovers() == []


def test_a_vf_that_its_network_driver_has_left_meanwhile_is_given_up(node: Node) -> None:
    """Its device went with the driver; whatever comes next is new."""
    pod, config = node.pod(), node.config(ipam=True)
    assert node.call("ADD", config, netns=pod.path).status == 0
    pod.run("ip", "link", "del", "net1")
    node.sysfs.place_netdev(VFS[0], None)
    node.sysfs.bind(VFS[0], None)
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert node.leftovers() == []


def test_a_record_that_cannot_be_understood_keeps_its_vf_and_no_other(node: Node) -> None:
    spoil = b'{"format": 2}'
    pod, path = node.pod(), node.state / "attachments/c1-net1.json"
    assert node.call("ADD", node.config(), netns=pod.path).status == 0
    text = path.read_bytes()
    path.write_bytes(spoil)
    for verb, container in (("ADD", "c2"), ("DEL", "c1")):
        said = node.call(verb, node.config(), container=container, netns=node.pod().path)
        assert said.code == 105
        assert str(path) in str(said.json["msg"])
    other = node.pod()
    assert node.call("ADD", node.config(1), container="c3", netns=other.path).status == 0
    assert node.call("DEL", node.config(1), container="c3", netns=other.path).status == 0
    assert path.read_bytes() == spoil
    path.write_bytes(text)
    assert node.call("DEL", node.config(), netns=pod.path).status == 0
    assert (node.vf_link() is not None, node.leftovers()) == (True, [])


def test_after_a_reboot_only_the_addresses_are_given_back(idle_node: Node) -> None:
    """Its VF is new, whatever the record says; the test turns the record into one of another boot."""
    pod, config = idle_node.pod(), idle_node.config(ipam=True, mac="0a:58:0a:01:01:02")
    assert idle_node.call("ADD", config, netns=pod.path).status == 0
    pod.run("ip", "link", "set", "net1", "down", "netns", str(idle_node.home.keeper.pid), "name", "vf0")
    pod.end()
    idle_node.home.run("ip", "link", "set", "vf0", "mtu", "1300")
    fresh = idle_node.vf_link()
    path = idle_node.state / "attachments/c1-net1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another"}))
    assert idle_node.call("DEL", config).status == 0
    assert (idle_node.vf_link(), idle_node.leftovers()) == (fresh, [])


def test_a_del_that_comes_again_for_its_addresses_leaves_the_next_pods_vf_alone(idle_node: Node) -> None:
    pod, other, config = idle_node.pod(), idle_node.pod(), idle_node.config(ipam=True)
    assert idle_node.call("ADD", config, netns=pod.path).status == 0
    assert idle_node.call("DEL", config, netns=pod.path, CNI_PATH="/nowhere").code == 100
    assert idle_node.vf_link() is not None
    assert idle_node.call("ADD", idle_node.config(), container="c2", netns=other.path).status == 0
    assert idle_node.call("DEL", config, netns=pod.path).status == 0
    assert "net1" in other.links()
    assert idle_node.call("DEL", idle_node.config(), container="c2", netns=other.path).status == 0
    assert idle_node.leftovers() == []
