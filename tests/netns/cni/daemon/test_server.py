"""The daemon as its callers and its service manager see it."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import time

import pytest

from cni import client
from tests.netns.cni.conftest import Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]

SLOW_PLUGIN = """#!/bin/sh
[ "$CNI_COMMAND" = ADD ] && sleep 1.5
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.7.0.2/24"}]}'
echo "$CNI_COMMAND" >> "$(dirname "$0")/calls"
exit 0
"""


def slow_network(node: Node) -> tuple[dict[str, object], dict[str, str]]:
    """A network whose IPAM plugin takes its time, and the environment to find it."""
    plugin = node.folder / "plugins/slow"
    plugin.parent.mkdir(exist_ok=True)
    plugin.write_text(SLOW_PLUGIN)
    plugin.chmod(0o755)
    return node.config() | {"ipam": {"type": "slow"}}, {"CNI_PATH": str(plugin.parent)}


def test_the_socket_is_roots(idle_node: Node) -> None:
    idle_node.start_daemon()
    assert stat.S_IMODE(idle_node.socket.stat().st_mode) == 0o600
    assert idle_node.stop_daemon() == 0
    assert not idle_node.socket.exists()


def test_one_line_is_logged_for_each_call(idle_node: Node) -> None:
    idle_node.start_daemon()
    pod = idle_node.pod()
    idle_node.call("ADD", idle_node.config(), netns=pod.path)
    idle_node.call("DEL", idle_node.config(), netns=pod.path)
    idle_node.call("ADD", b"{", netns=pod.path)
    lines = [line.split("call ")[1] for line in idle_node.daemon_log().splitlines() if "cni.perform: call" in line]
    assert [line.rpartition(" ms=")[0] for line in lines] == [
        "verb=ADD container=c1 ifname=net1 vf=0000:03:10.0 outcome=ok",
        "verb=DEL container=c1 ifname=net1 vf=0000:03:10.0 outcome=ok",
        lines[2].rpartition(" ms=")[0],
    ]
    assert "verb=ADD container=c1 ifname=net1 outcome=error code=6" in lines[2]


def test_what_is_malformed_harms_its_sender_only(idle_node: Node) -> None:
    idle_node.start_daemon()
    for call in (b"", b"GET / HTTP/1.1\r\n\r\n", client.MAGIC, client.MAGIC + b"\xff" * 8, client.MAGIC + bytes(7)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(idle_node.socket))
            connection.sendall(call)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) in (b"", bytes([client.NOT_PERFORMED, 0, 0, 0, 0]))
    assert idle_node.call("STATUS", idle_node.config() | {"cniVersion": "1.1.0"}).status == 0


def test_a_clean_stop_finishes_what_it_began(idle_node: Node) -> None:
    idle_node.start_daemon()
    pod, (config, variables) = idle_node.pod(), slow_network(idle_node)
    call = idle_node.start("ADD", config, netns=pod.path, **variables)
    _await_link(idle_node, pod.path)
    assert idle_node.stop_daemon(signal.SIGTERM) == 0
    text, _ = call.communicate(timeout=20)
    assert (call.returncode, "net1" in pod.links()) == (0, True), text
    assert idle_node.call("DEL", config, netns=pod.path, **variables).status == 0


def test_an_add_whose_daemon_dies_is_to_be_tried_again_and_leaves_nothing_after_del(idle_node: Node) -> None:
    idle_node.start_daemon()
    before, pod, (config, variables) = idle_node.vf_link(), idle_node.pod(), slow_network(idle_node)
    call = idle_node.start("ADD", config, netns=pod.path, **variables)
    _await_link(idle_node, pod.path)
    idle_node.stop_daemon(signal.SIGKILL)
    text, _ = call.communicate(timeout=20)
    assert json.loads(text)["code"] == 11
    assert idle_node.call("DEL", config, netns=pod.path, **variables).status == 0
    assert (idle_node.vf_link(), idle_node.leftovers()) == (before, [])


def test_an_add_whose_caller_is_killed_is_undone_and_an_early_del_waits_for_it(idle_node: Node) -> None:
    idle_node.start_daemon()
    before, pod, (config, variables) = idle_node.vf_link(), idle_node.pod(), slow_network(idle_node)
    call = idle_node.start("ADD", config, netns=pod.path, **variables)
    _await_link(idle_node, pod.path)
    call.kill()
    call.communicate()
    assert idle_node.call("DEL", config, netns=pod.path, **variables).status == 0
    assert (idle_node.vf_link(), idle_node.leftovers()) == (before, [])


def test_an_add_whose_caller_is_killed_is_undone_without_any_del(idle_node: Node) -> None:
    idle_node.start_daemon()
    before, pod, (config, variables) = idle_node.vf_link(), idle_node.pod(), slow_network(idle_node)
    call = idle_node.start("ADD", config, netns=pod.path, **variables)
    _await_link(idle_node, pod.path)
    call.kill()
    call.communicate()
    deadline = time.monotonic() + 20
    while idle_node.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (idle_node.vf_link(), idle_node.leftovers()) == (before, [])
    assert (idle_node.folder / "plugins/calls").read_text().split() == ["ADD", "DEL"]


def test_more_calls_than_the_queue_holds_are_told_to_come_again(idle_node: Node) -> None:
    config_file = idle_node.folder / "node.yaml"
    config_file.write_text("workers: 1\nqueue: 0\n")
    idle_node.start_daemon("--config", str(config_file))
    pod, (config, variables) = idle_node.pod(), slow_network(idle_node)
    call = idle_node.start("ADD", config, netns=pod.path, **variables)
    _await_link(idle_node, pod.path)
    said = idle_node.call("STATUS", idle_node.config() | {"cniVersion": "1.1.0"})
    assert (said.code, "calls are waiting or at work" in str(said.json["msg"])) == (11, True)
    call.communicate(timeout=20)
    assert idle_node.call("DEL", config, netns=pod.path, **variables).status == 0


def _await_link(node: Node, netns: str) -> None:
    """Wait until the VF is in the pod: the ADD is then in the middle of its work."""
    deadline = time.monotonic() + 20
    while (
        "net1"
        not in subprocess.run(
            ["nsenter", f"--net={netns}", "ip", "link"], capture_output=True, text=True, check=True
        ).stdout
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
