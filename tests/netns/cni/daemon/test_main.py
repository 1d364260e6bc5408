"""The daemon as its callers, its service manager and Prometheus see it: a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.netns.cni.conftest import Namespace, Node, Said

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]

PATIENCE_S = 30
PLUGIN = """#!/bin/sh
here=$(dirname "$0")
echo "$CNI_COMMAND" >> "$here/calls"
if [ "$CNI_COMMAND" = ADD ]; then
    while [ ! -e "$here/go" ]; do sleep 0.02; done
    echo '{"cniVersion":"1.0.0","ips":[{"address":"10.7.0.2/24"}]}'
fi
"""


class Gate:
    """A network whose IPAM plugin gives addresses once the test lets it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._folder = node.folder / "plugins"
        self._folder.mkdir()
        plugin = self._folder / "gate"
        plugin.write_text(PLUGIN)
        plugin.chmod(0o755)
        self.config = node.config() | {"ipam": {"type": "gate"}}
        self.variables = {"CNI_PATH": str(self._folder)}

    def start(self, pod: Namespace, **variables: str) -> subprocess.Popen[bytes]:
        """Start an ADD; gives it once its VF is in the pod, and it waits for its addresses."""
        variables = self.variables | variables
        call = self._node.start("ADD", self.config, netns=pod.path, **variables)
        wait_until(lambda: "net1" in pod.links() and self.calls)
        return call

    def open(self) -> None:
        (self._folder / "go").touch()

    def end(self, pod: Namespace) -> Said:
        return self._node.call("DEL", self.config, netns=pod.path, **self.variables)

    @property
    def calls(self) -> list[str]:
        path = self._folder / "calls"
        return path.read_text().split() if path.exists() else []


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def configure(node: Node, **settings: object) -> None:
    """Start the daemon with these settings."""
    config = node.folder / "node.yaml"
    config.write_text(json.dumps(settings))
    node.start_daemon("--config", str(config))


def status_config(node: Node) -> Mapping[str, object]:
    return node.config() | {"cniVersion": "1.1.0"}


def is_performed_here(said: Said) -> bool:
    """Whether the client did it itself: then the line about the call is in its own log."""
    return "cni.perform: call" in said.log


# -- its command line --------------------------------------------------------------------------------------------------


def test_a_wrong_configuration_is_told_with_all_its_faults(tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("worker: 3\nqueue: many\nmetrics: 9402\n")
    said = subprocess.run(
        [sys.executable, "-m", "cni.daemon", "--check-config", "--config", str(config)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert said.returncode == 2
    assert "worker: is not a known key (did you mean 'workers'?)" in said.stderr
    assert "queue: 'many' is a text, must be an integer" in said.stderr
    assert "metrics: 9402 is an integer, must be a text" in said.stderr


# -- calls -------------------------------------------------------------------------------------------------------------


def test_one_line_is_logged_for_each_call_with_what_its_phases_took(idle_node: Node) -> None:
    idle_node.start_daemon()
    pod = idle_node.pod()
    idle_node.call("ADD", idle_node.config(ipam=True), netns=pod.path)
    idle_node.call("DEL", idle_node.config(ipam=True), netns=pod.path)
    idle_node.call("ADD", b"{", netns=pod.path)
    lines = [line.split("call ")[1] for line in idle_node.daemon_log().splitlines() if "cni.perform: call" in line]
    about = "container=c1 ifname=net1 vf=0000:03:10.0 outcome=ok"
    phases = [re.findall(r"(\w+)_ms=[0-9.]+", line) for line in lines]
    assert [line.partition(" queue_ms=")[0] for line in lines[:2]] == [f"verb=ADD {about}", f"verb=DEL {about}"]
    assert phases[0] == ["queue", "ask", "lock", "look", "record", "move", "ipam", "layer3"]
    assert phases[1] == ["queue", "ask", "lock", "restore", "ipam"]
    assert "verb=ADD container=c1 ifname=net1 outcome=error code=6" in lines[2]
    assert all(re.search(r" ms=[0-9.]+$", line) for line in lines)
    assert len(lines) == 3


def test_an_add_whose_daemon_dies_is_to_be_tried_again_and_leaves_nothing_after_del(idle_node: Node) -> None:
    idle_node.start_daemon()
    before, pod, gate = idle_node.vf_link(), idle_node.pod(), Gate(idle_node)
    call = gate.start(pod)
    idle_node.stop_daemon(signal.SIGKILL)
    text, _ = call.communicate(timeout=PATIENCE_S)
    assert json.loads(text)["code"] == 11
    gate.open()
    assert gate.end(pod).status == 0
    assert (idle_node.vf_link(), idle_node.leftovers()) == (before, [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_add_whose_caller_is_killed_is_undone_and_an_early_del_waits_for_it(
    idle_node: Node, number: signal.Signals
) -> None:
    idle_node.start_daemon()
    before, pod, gate = idle_node.vf_link(), idle_node.pod(), Gate(idle_node)
    call = gate.start(pod)
    call.send_signal(number)
    call.communicate()
    late = idle_node.start("DEL", gate.config, netns=pod.path, **gate.variables)
    gate.open()
    text, _ = late.communicate(timeout=PATIENCE_S)
    assert (late.returncode, idle_node.vf_link(), idle_node.leftovers()) == (0, before, []), text


def test_an_add_whose_caller_is_killed_is_undone_without_any_del(idle_node: Node) -> None:
    idle_node.start_daemon()
    before, pod, gate = idle_node.vf_link(), idle_node.pod(), Gate(idle_node)
    call = gate.start(pod)
    call.kill()
    call.communicate()
    gate.open()
    wait_until(lambda: not idle_node.leftovers())
    assert (idle_node.vf_link(), gate.calls) == (before, ["ADD", "DEL"])


def test_more_calls_than_the_queue_holds_are_told_to_come_again(idle_node: Node) -> None:
    configure(idle_node, workers=1, queue=0)
    pod, gate = idle_node.pod(), Gate(idle_node)
    call = gate.start(pod)
    said = idle_node.call("STATUS", status_config(idle_node))
    assert (said.code, "calls are waiting or at work" in str(said.json["msg"])) == (11, True)
    gate.open()
    call.communicate(timeout=PATIENCE_S)
    assert gate.end(pod).status == 0


def test_an_add_beyond_its_deadline_is_given_up_and_undone(idle_node: Node) -> None:
    configure(idle_node, deadline=1)
    before, pod, gate = idle_node.vf_link(), idle_node.pod(), Gate(idle_node)
    said = idle_node.call("ADD", gate.config, netns=pod.path, **gate.variables)
    assert (said.code, "gave no answer in" in str(said.json["msg"])) == (11, True), said
    assert (idle_node.vf_link(), idle_node.leftovers(), gate.calls) == (before, [], ["ADD", "DEL"])


def test_a_call_that_waits_for_its_vf_beyond_its_deadline_is_given_up(idle_node: Node) -> None:
    configure(idle_node, deadline=1)
    pod, gate = idle_node.pod(), Gate(idle_node)
    elsewhere = gate.start(pod, DPUKIT_RUN="/nowhere")
    other = idle_node.pod()
    said = idle_node.call("ADD", idle_node.config(), netns=other.path, container="c2")
    assert (said.code, "another call" in str(said.json["msg"])) == (11, True), said
    gate.open()
    elsewhere.communicate(timeout=PATIENCE_S)
    assert (elsewhere.returncode, gate.end(pod).status) == (0, 0)


# -- its end, and others of its kind -----------------------------------------------------------------------------------


def test_a_clean_stop_finishes_what_it_began_and_sends_away_who_waits_and_who_comes(idle_node: Node) -> None:
    configure(idle_node, workers=1)
    pod, gate = idle_node.pod(), Gate(idle_node)
    begun = gate.start(pod)
    waiting = idle_node.start("STATUS", status_config(idle_node))
    daemon = idle_node.daemon
    assert daemon is not None
    daemon.terminate()
    wait_until(lambda: not idle_node.socket.exists())
    late = idle_node.call("STATUS", status_config(idle_node))
    assert (late.status, is_performed_here(late), daemon.poll()) == (0, True, None)
    gate.open()
    text, _ = begun.communicate(timeout=PATIENCE_S)
    assert (begun.returncode, "net1" in pod.links()) == (0, True), text
    _, log = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, b"cni.perform: call" in log) == (0, True)
    assert daemon.wait(PATIENCE_S) == 0
    idle_node.daemon = None
    assert gate.end(pod).status == 0


def test_calls_that_nobody_took_before_the_stop_are_performed_by_their_clients(idle_node: Node) -> None:
    idle_node.start_daemon()
    assert idle_node.daemon is not None
    idle_node.daemon.send_signal(signal.SIGSTOP)
    pod = idle_node.pod()
    calls = [
        idle_node.start("ADD", idle_node.config(number), netns=pod.path, ifname=f"net{number}") for number in range(3)
    ]
    wait_until(lambda: len(connected_to(idle_node)) == 3)
    idle_node.daemon.terminate()
    idle_node.daemon.send_signal(signal.SIGCONT)
    said = [call.communicate(timeout=PATIENCE_S) for call in calls]
    assert [call.returncode for call in calls] == [0, 0, 0], said
    assert idle_node.daemon.wait(PATIENCE_S) == 0
    idle_node.daemon = None
    for number in range(3):
        idle_node.call("DEL", idle_node.config(number), netns=pod.path, ifname=f"net{number}")


def connected_to(node: Node) -> list[str]:
    """Name the connections that wait at the daemon's socket, or are taken in (the listener itself has another state)."""
    lines = node.home.run("cat", "/proc/net/unix").splitlines()
    return [line for line in lines if line.endswith(f"/.node.sock.{daemon_pid(node)}") and line.split()[5] != "01"]


def daemon_pid(node: Node) -> int:
    assert node.daemon is not None
    return node.daemon.pid


def test_a_second_daemon_takes_over_while_the_first_finishes_and_ends(idle_node: Node) -> None:
    idle_node.start_daemon()
    first, pod, gate = idle_node.daemon, idle_node.pod(), Gate(idle_node)
    assert first is not None
    call = gate.start(pod)
    inode = idle_node.socket.stat().st_ino
    idle_node.start_daemon()
    wait_until(lambda: idle_node.socket.exists() and idle_node.socket.stat().st_ino != inode)
    wait_until(lambda: "clients do not come here any more" in idle_node.daemon_log())
    said = idle_node.call("STATUS", status_config(idle_node))
    assert (said.status, is_performed_here(said), first.poll()) == (0, False, None)
    gate.open()
    text, _ = call.communicate(timeout=PATIENCE_S)
    assert (call.returncode, first.wait(PATIENCE_S)) == (0, 0), text
    assert gate.end(pod).status == 0
    assert idle_node.stop_daemon() == 0


def test_a_daemon_whose_socket_was_removed_ends_and_says_why(idle_node: Node) -> None:
    idle_node.start_daemon()
    assert idle_node.daemon is not None
    idle_node.socket.unlink()
    assert idle_node.daemon.wait(PATIENCE_S) == 1
    idle_node.daemon = None
    assert "was removed while it was served (start dpukit-node again)" in idle_node.daemon_log()


def test_a_dead_daemons_socket_is_no_obstacle_to_clients_nor_to_the_next_daemon(idle_node: Node) -> None:
    idle_node.start_daemon()
    idle_node.stop_daemon(signal.SIGKILL)
    alone = idle_node.call("STATUS", status_config(idle_node))
    inode = idle_node.socket.stat().st_ino
    idle_node.start_daemon()
    wait_until(lambda: idle_node.socket.exists() and idle_node.socket.stat().st_ino != inode)
    served = idle_node.call("STATUS", status_config(idle_node))
    assert (alone.status, is_performed_here(alone)) == (0, True)
    assert (served.status, is_performed_here(served)) == (0, False)


def test_the_service_manager_is_told_when_it_is_ready_and_when_it_stops(idle_node: Node, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        idle_node.start_daemon(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
        assert idle_node.stop_daemon() == 0
        assert manager.recv(100) == b"STOPPING=1"


# -- records of other versions -----------------------------------------------------------------------------------------


def test_a_later_versions_record_is_told_once_and_kept(idle_node: Node) -> None:
    pod = idle_node.pod()
    assert idle_node.call("ADD", idle_node.config(), netns=pod.path).status == 0
    (record,) = idle_node.state.glob("attachments/*.json")
    text = record.read_text()
    record.write_text(text.replace('"format": 1', '"format": 99'))
    configure(idle_node, look_every=1)
    wait_until(lambda: "another version wrote it" in idle_node.daemon_log())
    said = idle_node.call("DEL", idle_node.config(), netns=pod.path)
    assert (said.code, "another version wrote it" in str(said.json)) == (105, True)
    time.sleep(1.2)
    assert idle_node.daemon_log().count("a person has to look at this") == 1
    record.write_text(text)
    assert idle_node.call("DEL", idle_node.config(), netns=pod.path).status == 0


# -- its figures -------------------------------------------------------------------------------------------------------

FETCH = """
import sys, urllib.request, urllib.error
try:
    with urllib.request.urlopen(sys.argv[1], timeout=20) as page:
        print(page.status, page.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print(error)
"""


def fetch(node: Node, page: str) -> str:
    return node.home.run(sys.executable, "-c", FETCH, f"http://127.0.0.1:9402{page}")


def test_prometheus_and_the_kubelet_are_answered(idle_node: Node) -> None:
    idle_node.home.run("ip", "link", "set", "lo", "up")
    configure(idle_node, metrics="127.0.0.1:9402")
    pod = idle_node.pod()
    assert idle_node.call("ADD", idle_node.config(), netns=pod.path).status == 0
    assert idle_node.call("ADD", idle_node.config(), netns=pod.path, container="c2").code == 11
    assert idle_node.call("DEL", idle_node.config(), netns=pod.path).status == 0
    wait_until(lambda: fetch(idle_node, "/readyz") == "200 ok\n\n")
    assert fetch(idle_node, "/healthz") == "200 ok\n\n"
    assert fetch(idle_node, "/").startswith("404 there are /metrics")
    text = fetch(idle_node, "/metrics")
    for line in (
        'dpukit_node_calls_total{code="0",verb="ADD"} 1.0', 'dpukit_node_calls_total{code="11",verb="ADD"} 1.0',
        'dpukit_node_phase_seconds_count{phase="move",verb="ADD"} 1.0', 'dpukit_node_restored_vfs_total{by="DEL"} 1.0',
        'dpukit_build_info{program="dpukit-node"', "dpukit_node_calls_waiting 0.0",
    ):  # fmt: skip
        assert line in text
    resident = float(re.findall(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)[0])
    assert resident < 60 << 20


def test_figures_wait_for_a_port_that_a_predecessor_has_and_calls_do_not(idle_node: Node) -> None:
    idle_node.home.run("ip", "link", "set", "lo", "up")
    configure(idle_node, metrics="127.0.0.1:9402")
    first, inode = idle_node.daemon, idle_node.socket.stat().st_ino
    assert first is not None
    configure(idle_node, metrics="127.0.0.1:9402")
    wait_until(lambda: idle_node.socket.exists() and idle_node.socket.stat().st_ino != inode)
    assert not is_performed_here(idle_node.call("STATUS", status_config(idle_node)))
    assert first.wait(PATIENCE_S) == 0
    wait_until(lambda: 'verb="STATUS"' in fetch(idle_node, "/metrics"))


def test_a_place_where_nobody_can_listen_is_told_at_once(idle_node: Node) -> None:
    config = idle_node.folder / "node.yaml"
    config.write_text("metrics: unix:/dev/null/metrics.sock\n")
    said = subprocess.run(
        ["nsenter", f"--net={idle_node.home.path}", sys.executable, "-m", "cni.daemon", "--config", str(config)],
        env=idle_node.environment() | {"PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert (said.returncode, "unix:/dev/null/metrics.sock: kernel refused to answer HTTP there" in said.stderr) == (
        1,
        True,
    )
    assert os.listdir(idle_node.folder / "run") == []
