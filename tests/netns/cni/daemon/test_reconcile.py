"""What a dead daemon, a dead pod, or a runtime without manners left, is undone; what stands is left alone.

The stand-ins for VFs are veth ends, which die with their namespace; so the test brings them home, as the kernel does with
a VF: `come_home`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cni.plan import name_refuge
from sriov.model import PciAddress
from tests.netns.cni.conftest import VFS, Namespace, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]

PATIENCE_S = 30
HOUR_S = 3600
PLUGIN = """#!/bin/sh
here=$(dirname "$0")
echo "$CNI_COMMAND" >> "$here/calls"
[ -e "$here/fail.$CNI_COMMAND" ] && { echo '{"code": 100, "msg": "asked to fail"}'; exit 1; }
[ -e "$here/crash.$CNI_COMMAND" ] && exit 3
[ -e "$here/hang.$CNI_COMMAND" ] && exec sleep 60
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.7.0.2/24"}]}'
exit 0
"""


class Wayward:
    """A network whose IPAM plugin does what the test says."""

    def __init__(self, node: Node) -> None:
        self.folder = node.folder / "plugins"
        self.folder.mkdir()
        plugin = self.folder / "wayward"
        plugin.write_text(PLUGIN)
        plugin.chmod(0o755)
        self.config = node.config() | {"ipam": {"type": "wayward"}}
        self.variables = {"CNI_PATH": str(self.folder)}

    def let(self, deed: str, verb: str) -> Path:
        path = self.folder / f"{deed}.{verb}"
        path.touch()
        return path

    def count(self, verb: str) -> int:
        path = self.folder / "calls"
        return path.read_text().split().count(verb) if path.exists() else 0


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def configure(node: Node, *, look_every: int) -> None:
    config = node.folder / "node.yaml"
    config.write_text(json.dumps({"look_every": look_every}))
    node.start_daemon("--config", str(config))


def come_home(node: Node, pod: Namespace, *, number: int = 0, name: str = "net1") -> None:
    """Let a stand-in come home under the name it has in its pod."""
    node.sysfs.place_netdev(VFS[number], name)
    pod.run("ip", "link", "set", name, "netns", str(node.home.keeper.pid))


def test_a_starting_daemon_undoes_what_a_dead_one_left(idle_node: Node) -> None:
    before, pod = idle_node.vf_link(), idle_node.pod()
    config = idle_node.config(ipam=True, mac="0a:58:0a:01:01:02")
    assert idle_node.call("ADD", config, netns=pod.path).status == 0
    come_home(idle_node, pod)
    pod.end()
    configure(idle_node, look_every=HOUR_S)
    wait_until(lambda: not idle_node.leftovers())
    assert idle_node.vf_link() == before
    wait_until(lambda: "leftover=in-no-pod" in idle_node.daemon_log())


@pytest.mark.parametrize("name", ["net1", "renamed", "dev7"])
def test_a_vf_that_comes_home_under_any_name_is_restored_by_the_event(idle_node: Node, name: str) -> None:
    configure(idle_node, look_every=HOUR_S)
    before, pod = idle_node.vf_link(), idle_node.pod()
    assert idle_node.call("ADD", idle_node.config(ipam=True, mtu=1400), netns=pod.path).status == 0
    if name != "net1":
        pod.run("ip", "link", "set", "net1", "down", "name", name)
    come_home(idle_node, pod, name=name)
    wait_until(lambda: not idle_node.leftovers())
    assert idle_node.vf_link() == before


def test_an_add_that_was_killed_halfway_is_undone_though_its_pod_lives(idle_node: Node) -> None:
    before, pod, network = idle_node.vf_link(), idle_node.pod(), Wayward(idle_node)
    network.let("hang", "ADD")
    call = idle_node.start("ADD", network.config, netns=pod.path, **network.variables)
    wait_until(lambda: network.count("ADD") and "net1" in pod.links())
    call.kill()
    call.communicate()
    # The plugin has the VF's lock as long as it lives: it dies with its process group, which is its own.
    _kill_plugin(network)
    configure(idle_node, look_every=1)
    wait_until(lambda: not idle_node.leftovers())
    assert (idle_node.vf_link(), "net1" in pod.links()) == (before, False)
    wait_until(lambda: "leftover=unfinished" in idle_node.daemon_log())


def _kill_plugin(network: Wayward) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"CNI_PATH={network.folder}".encode() in variables:
            os.kill(int(folder.name), signal.SIGKILL)


def test_an_add_and_its_del_that_both_failed_are_undone_when_that_can_be_and_told_once(idle_node: Node) -> None:
    """Some runtimes send no DEL any more after that."""
    configure(idle_node, look_every=1)
    before, pod, network = idle_node.vf_link(), idle_node.pod(), Wayward(idle_node)
    # It may have given an address before it fell over.
    network.let("crash", "ADD")
    obstacle = network.let("fail", "DEL")
    assert idle_node.call("ADD", network.config, netns=pod.path, **network.variables).status == 1
    assert idle_node.call("DEL", network.config, netns=pod.path, **network.variables).status == 1
    tried = network.count("DEL")
    wait_until(lambda: network.count("DEL") > tried)
    assert idle_node.leftovers() == ["c1-net1.json"]
    obstacle.unlink()
    wait_until(lambda: not idle_node.leftovers())
    assert idle_node.vf_link() == before
    assert idle_node.daemon_log().count("not undone yet") == 1


def test_a_vf_whose_name_another_link_has_gets_it_when_that_is_gone(idle_node: Node) -> None:
    configure(idle_node, look_every=HOUR_S)
    before, pod = idle_node.vf_link(), idle_node.pod()
    assert idle_node.call("ADD", idle_node.config(), netns=pod.path).status == 0
    idle_node.home.run("ip", "link", "add", "vf0", "type", "veth", "peer", "name", "other0")
    come_home(idle_node, pod)
    wait_until(lambda: "its own name 'vf0' has another link now" in idle_node.daemon_log())
    idle_node.sysfs.place_netdev(VFS[0], name_refuge(PciAddress.parse(VFS[0])))
    idle_node.home.run("ip", "link", "delete", "vf0")
    wait_until(lambda: not idle_node.leftovers())
    assert {"vf0"} == {name for name in idle_node.home.links() if name.startswith("vf0")}
    after = idle_node.vf_link()
    assert (after and after["mtu"], after and after["ifindex"]) == (
        before and before["mtu"],
        before and before["ifindex"],
    )


def test_what_stands_is_left_alone_whatever_happens_around_it(idle_node: Node) -> None:
    configure(idle_node, look_every=1)
    pod = idle_node.pod()
    assert idle_node.call("ADD", idle_node.config(ipam=True), netns=pod.path).status == 0
    records = idle_node.leftovers()
    for number in range(3):
        idle_node.home.run("ip", "link", "add", f"noise{number}", "type", "veth", "peer", "name", f"echo{number}")
        time.sleep(0.4)
    assert (idle_node.leftovers(), "net1" in pod.links()) == (records, True)
    assert "undone" not in idle_node.daemon_log()
    assert idle_node.call("DEL", idle_node.config(ipam=True), netns=pod.path).status == 0


def test_calls_and_the_reconciler_keep_out_of_each_others_way(idle_node: Node) -> None:
    """Each pod dies without DEL, and the next ADD comes at once: whoever is first restores the VF."""
    configure(idle_node, look_every=1)
    before = idle_node.vf_link()
    for number in range(5):
        pod, config = idle_node.pod(), idle_node.config(mtu=1300 + number)
        # Under the same name at home and in the pod, so that this sysfs, which stands still, is right all the time.
        said = idle_node.call("ADD", config, netns=pod.path, container=f"c{number}", ifname="vf0")
        assert (said.status, pod.links()["vf0"]["mtu"]) == (0, 1300 + number), said
        pod.run("ip", "link", "set", "vf0", "netns", str(idle_node.home.keeper.pid))
    wait_until(lambda: not idle_node.leftovers())
    assert idle_node.vf_link() == before
    assert "Traceback" not in idle_node.daemon_log()


def test_a_vf_that_a_program_has_is_given_up_when_its_pods_namespace_is_seen_to_end(idle_node: Node) -> None:
    """No network device comes home, so nothing else tells."""
    idle_node.sysfs.place_netdev(VFS[0], None)
    idle_node.sysfs.bind(VFS[0], "vfio-pci")
    pod = idle_node.pod()
    assert idle_node.call("ADD", idle_node.config(), netns=pod.path).status == 0
    (record,) = idle_node.state.glob("attachments/*.json")
    # Another's namespace is at a path that only its runtime sees.
    changes = {'"containerID": "c1"': '"containerID": "c2"', pod.path: "/hidden", VFS[0]: VFS[1]}
    unseen = record.read_text()
    for old, new in changes.items():
        unseen = unseen.replace(old, new)
    idle_node.sysfs.place_netdev(VFS[1], None)
    idle_node.sysfs.bind(VFS[1], "vfio-pci")
    record.with_name("c2-net1.json").write_text(unseen)
    (idle_node.state / "vfs" / VFS[1]).symlink_to("../attachments/c2-net1.json")
    config = idle_node.folder / "node.yaml"
    config.write_text(json.dumps({"look_every": 1, "metrics": f"unix:{idle_node.folder}/m.sock"}))
    idle_node.start_daemon("--config", str(config))
    wait_until(lambda: b" 200 " in _ask(idle_node.folder / "m.sock", "/readyz"))
    pod.end()
    wait_until(lambda: not record.exists())
    assert idle_node.leftovers() == [VFS[1], "c2-net1.json"]


def _ask(path: Path, page: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(str(path))
        except OSError:
            return b""
        connection.sendall(f"GET {page} HTTP/1.0\r\n\r\n".encode())
        return connection.recv(1000)
