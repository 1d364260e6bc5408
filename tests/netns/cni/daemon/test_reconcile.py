"""What a dead daemon left, a new one undoes."""

from __future__ import annotations

import time

import pytest

from tests.netns.cni.conftest import Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def test_a_starting_daemon_undoes_what_a_dead_one_left(idle_node: Node) -> None:
    """The pod's namespace died while nobody looked: the test brings the stand-in home, as the kernel does with a VF."""
    before, pod = idle_node.vf_link(), idle_node.pod()
    config = idle_node.config(ipam=True, mac="0a:58:0a:01:01:02")
    assert idle_node.call("ADD", config, netns=pod.path).status == 0
    pod.run("ip", "link", "set", "net1", "netns", str(idle_node.home.keeper.pid))
    idle_node.sysfs.place_netdev("0000:03:10.0", "net1")
    pod.end()
    idle_node.start_daemon()
    deadline = time.monotonic() + 20
    while idle_node.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (idle_node.vf_link(), idle_node.leftovers()) == (before, [])
