"""dpukit in a list of plugins, in any position, as a runtime of CNI 1.1 drives it; the other plugins are Debian's."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.runtime import Attachment, Network, PluginError, Runtime
from tests.netns.cni.conftest import IPAM_PATH, VFS, Namespace, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]

MAC = "0a:58:0a:09:00:63"
LAST = """\
#!{python} -IS
import json, os, sys
config = json.load(sys.stdin)
verb = os.environ["CNI_COMMAND"]
if verb == config.get("fails"):
    print(json.dumps({{"cniVersion": config["cniVersion"], "code": 11, "msg": "not now"}}))
    sys.exit(1)
if verb == "ADD":
    print(json.dumps(config["prevResult"]))
"""
"""A plugin for the end of a list that speaks 1.1.0, which Debian's do not yet: it hands on what it gets, or fails."""


def runtime_of(node: Node, *, cache: str = "cache") -> Runtime:
    last = node.executable.with_name("last")
    last.write_text(LAST.format(python=os.path.realpath(sys.executable)), encoding="utf-8")
    last.chmod(0o755)
    path = [node.executable.parent, Path(IPAM_PATH)]
    enter = ("nsenter", f"--net={node.home.path}")
    return Runtime(path, node.folder / cache, environment=node.environment(), enter=enter)


def network(node: Node, *plugins: str | dict[str, Any], version: str = "1.0.0", **keys: object) -> Network:
    """A list of plugins by their names; dpukit with VF 0, addresses of host-local below 1.1.0, and `keys`."""
    ours = {**node.config(ipam=version < "1.1.0"), "capabilities": {"mac": True}, **keys}
    tuning = {"type": "tuning", "mtu": 1300, "dataDir": str(node.folder / "tuning")}
    known: dict[str, dict[str, Any]] = {"dpukit": ours, "tuning": tuning}
    found = [known.get(plugin, {"type": plugin}) if isinstance(plugin, str) else plugin for plugin in plugins]
    return Network.parse(json.dumps({"cniVersion": version, "name": "net0", "plugins": found}))


def attachment(pod: Namespace, *, container: str = "c1", **capabilities: object) -> Attachment:
    return Attachment(container, pod.path, "net1", (("IgnoreUnknown", "1"), ("K8S_POD_NAME", "a")), capabilities)


def names(result: dict[str, Any]) -> list[str]:
    return [one["name"] for one in result["interfaces"]]


def assert_all_is_home(node: Node, before: object) -> None:
    assert (node.vf_link(), node.leftovers()) == (before, [])


CHAINS = [("dpukit", "tuning"), ("loopback", "dpukit"), ("loopback", "dpukit", "tuning")]


@pytest.mark.parametrize("plugins", CHAINS, ids=" ".join)
def test_a_whole_life_in_each_position(idle_node: Node, plugins: tuple[str, ...]) -> None:
    idle_node.start_daemon()
    live(idle_node, network(idle_node, *plugins), mtu=1300 if "tuning" in plugins else 1500)


def test_a_whole_life_in_0_4_0_without_the_daemon(idle_node: Node) -> None:
    live(idle_node, network(idle_node, *CHAINS[-1], version="0.4.0"), mtu=1300)


def live(node: Node, net: Network, *, mtu: int) -> None:
    before, pod, runtime = node.vf_link(), node.pod(), runtime_of(node)
    one = attachment(pod, mac=MAC)
    result = runtime.add(net, one)
    ours = names(result).index("net1")
    assert names(result) == [*(["lo"] if net.plugins[0]["type"] == "loopback" else []), "net1"]
    assert result["interfaces"][ours]["mac"] == MAC
    mine = [address for address in result["ips"] if address.get("interface") == ours]
    assert [address["address"] for address in mine] == ["10.9.0.2/24", "fd09::2/64"]
    link = pod.links()["net1"]
    assert (link["address"], link["mtu"]) == (MAC, mtu)
    runtime.check(net, one)
    for _ in range(2):
        runtime.delete(net, one)
    assert "net1" not in pod.links()
    assert_all_is_home(node, before)


def test_an_add_that_fails_behind_us_is_cleaned_up_by_del_without_a_result(idle_node: Node) -> None:
    idle_node.start_daemon()
    before, pod, runtime = idle_node.vf_link(), idle_node.pod(), runtime_of(idle_node)
    net = network(idle_node, "dpukit", {"type": "last", "fails": "ADD"})
    with pytest.raises(PluginError, match="not now"):
        runtime.add(net, attachment(pod))
    assert "net1" in pod.links()
    runtime.delete(net, attachment(pod))
    assert_all_is_home(idle_node, before)


def test_del_of_a_runtime_that_lost_its_cache_and_the_namespace(node: Node) -> None:
    before, pod = node.vf_link(), node.pod()
    net = network(node, "dpukit", "tuning")
    runtime_of(node).add(net, attachment(pod))
    runtime_of(node, cache="fresh").delete(net, Attachment("c1", "", "net1"))
    assert_all_is_home(node, before)


def test_in_1_1_0_gc_brings_home_what_the_runtime_forgot_and_leaves_what_is_valid(node: Node) -> None:
    before, runtime = node.vf_link(), runtime_of(node)
    stale, valid = attachment(node.pod(), container="old"), attachment(node.pod(), container="new")
    runtime.add(network(node, "dpukit", "last", version="1.1.0"), stale)
    runtime.add(network(node, "dpukit", "last", version="1.1.0", deviceID=VFS[1]), valid)
    shutil.rmtree(node.folder / "cache")
    assert runtime.collect(network(node, "dpukit", "last", version="1.1.0"), [valid]) == []
    assert (node.vf_link(), node.vf_link(1)) == (before, None)
    assert node.pods[1].links()["net1"]
    runtime.delete(network(node, "dpukit", "last", version="1.1.0", deviceID=VFS[1]), valid)
    assert node.leftovers() == []


def test_in_1_1_0_a_result_names_the_vf_and_check_and_status_are_answered(node: Node) -> None:
    pod, runtime = node.pod(), runtime_of(node)
    net = network(node, "dpukit", "last", version="1.1.0")
    runtime.status(net)
    (interface,) = runtime.add(net, attachment(pod))["interfaces"]
    link = pod.links()["net1"]
    assert interface == {
        "name": "net1", "mac": link["address"], "mtu": 1500, "sandbox": pod.path, "pciID": VFS[0],
    }  # fmt: skip
    runtime.check(net, attachment(pod))
    pod.run("ip", "link", "set", "net1", "address", MAC)
    with pytest.raises(PluginError, match=MAC) as found:
        runtime.check(net, attachment(pod))
    assert found.value.plugin == "dpukit"
    runtime.delete(net, attachment(pod))


def test_status_of_a_list_whose_ipam_plugin_is_missing_is_not_ready(idle_node: Node) -> None:
    net = network(idle_node, "dpukit", version="1.1.0", ipam={"type": "absent-ipam"})
    with pytest.raises(PluginError) as found:
        runtime_of(idle_node).status(net)
    assert found.value.code == 50


def test_a_runtime_may_choose_the_newest_version(idle_node: Node) -> None:
    assert "1.1.0" in runtime_of(idle_node).versions("dpukit")
