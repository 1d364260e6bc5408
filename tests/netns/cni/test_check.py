"""CHECK on a real kernel: what somebody broke is named, what somebody added is not, and nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.netns.cni.conftest import Namespace, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def added(node: Node, pod: Namespace, **keys: object) -> dict[str, object]:
    """Attach VF 0, and return the configuration a runtime calls CHECK and DEL with."""
    config = node.config(ipam=True, **keys)
    said = node.call("ADD", config, netns=pod.path)
    assert said.status == 0, said
    return {**config, "prevResult": said.json}


def settings(pod: Namespace) -> object:
    """Tell what somebody has set in a pod; not what follows by itself in its own time, such as a carrier."""
    links = {name: (link["address"], link["mtu"], "UP" in link["flags"]) for name, link in pod.links().items()}
    addresses = [(entry["local"], entry["prefixlen"]) for link in pod.ip("address") for entry in link["addr_info"]]
    return links, addresses, [(route["dst"], route.get("gateway")) for route in pod.ip("route")]


def complaint(node: Node, config: Mapping[str, object], pod: Namespace) -> str:
    said = node.call("CHECK", config, netns=pod.path)
    assert said.code in (None, 103), said
    return str(said.json["msg"]) if said.status else ""


def test_what_stands_as_added_is_well_and_is_not_touched(node: Node) -> None:
    pod = node.pod()
    config = added(node, pod, mac="0a:58:0a:01:01:02", mtu=1400)
    record = node.state / "attachments/c1-net1.json"
    before = (settings(pod), record.read_bytes(), record.stat().st_mtime_ns)
    said = node.call("CHECK", config, netns=pod.path)
    assert (said.status, said.text) == (0, b"")
    assert (settings(pod), record.read_bytes(), record.stat().st_mtime_ns) == before
    assert node.call("DEL", config, netns=pod.path).status == 0


def test_each_thing_somebody_broke_is_named(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    config = added(node, pod, mac="0a:58:0a:01:01:02", mtu=1400)
    for damage, mend, words in (
        ("link set net1 address 02:00:00:00:00:09", "link set net1 address 0a:58:0a:01:01:02", "its MAC is 02:00"),
        ("link set net1 mtu 1300", "link set net1 mtu 1400", "its MTU is 1300, not 1400"),
        ("address del 10.9.0.2/24 dev net1", "address add 10.9.0.2/24 dev net1", "address 10.9.0.2/24 is missing"),
        ("link set net1 name other", "link set other name net1", "its name is other"),
        ("route del default", "route add default via 10.9.0.1", "route 0.0.0.0/0 via 10.9.0.1 is missing"),
    ):
        pod.run("ip", *damage.split())
        assert words in complaint(node, config, pod)
        pod.run("ip", *mend.split())
        if "del 10" in damage:
            pod.run("ip", "route", "add", "default", "via", "10.9.0.1")
    assert complaint(node, config, pod) == ""
    pod.run("ip", "link", "set", "net1", "down")
    assert "it is down" in complaint(node, config, pod)
    assert node.call("DEL", config, netns=pod.path).status == 0


def test_what_later_plugins_add_is_theirs(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    config = added(node, pod)
    for addition in (
        "link add extra type veth peer name extra2", "address add 172.16.0.1/24 dev extra", "link set extra up",
        "route add 192.0.2.0/24 dev extra", "address add 10.9.0.77/24 dev net1",
    ):  # fmt: skip
        pod.run("ip", *addition.split())
    previous = dict(config["prevResult"])
    previous["interfaces"] = [*previous["interfaces"], {"name": "extra", "sandbox": pod.path}]
    previous["ips"] = [*previous["ips"], {"address": "172.16.0.1/24", "interface": 1}]
    previous["routes"] = [*previous["routes"], {"dst": "192.0.2.0/24"}]
    assert complaint(node, {**config, "prevResult": previous}, pod) == ""


def test_routed_mode_needs_its_gateways_neighbour(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    config = added(node, pod, routes={"mtu": 1400})
    assert complaint(node, config, pod) == ""
    pod.run("ip", "neighbour", "del", "169.254.1.1", "dev", "net1")
    assert "neighbour 169.254.1.1 at 0a:58:a9:fe:01:01 is missing" in complaint(node, config, pod)


def test_what_our_own_record_knows_is_compared(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    config = added(node, pod)
    assert "nothing is recorded of it for container c2" in str(
        node.call("CHECK", config, netns=pod.path, container="c2").json["msg"]
    )
    assert "belongs to network net0, not net1" in complaint(node, {**config, "name": "net1"}, pod)
    assert "it has VF 0000:03:10.0, not 0000:03:10.1" in complaint(node, {**config, "deviceID": "0000:03:10.1"}, pod)
    assert "is not the one it was attached to" in complaint(node, config, node.pod())
    assert "prevResult has no interface net1" in complaint(
        node, {**config, "prevResult": {**config["prevResult"], "interfaces": []}}, pod
    )


def test_check_needs_what_add_answered_and_a_version_that_knows_it(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    said = node.call("CHECK", node.config(), netns=pod.path)
    assert (said.code, "prevResult: is missing" in str(said.json["msg"])) == (7, True)
    said = node.call("CHECK", node.config(cniVersion="0.3.1"), netns=pod.path)
    assert (said.code, said.json["msg"]) == (1, "config version does not allow CHECK")
    assert node.call("CHECK", node.config(prevResult={}), netns="/gone").code == 3
    assert node.call("CHECK", node.config(prevResult={}), netns=node.home.path).code == 8


def test_addresses_that_ipam_does_not_know_are_told_in_its_words(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    config = added(node, pod)
    (node.folder / "ipam/net0/10.9.0.2").unlink()
    (node.folder / "ipam/net0/fd09::2").unlink()
    said = node.call("CHECK", config, netns=pod.path)
    assert (said.code, "IPAM host-local: " in str(said.json["msg"])) == (104, True), said
