"""A state disk that is full or read-only: nothing is attached without a record, and what is attached is not lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.netns.cni.conftest import Node

pytestmark = pytest.mark.netns


@pytest.fixture(params=["daemon", "in-process"])
def disk(request: pytest.FixtureRequest, idle_node: Node) -> Iterator[Callable[[str], None]]:
    """A small disk of its own under the state folder, in a mount namespace; gives a function that runs a command there."""
    node = idle_node
    node.state.mkdir()
    script = f"mount -t tmpfs -o size=64k,mode=700 none {node.state} && echo && exec sleep 900"
    keeper = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == b"\n"
    node.enter = (f"--mount=/proc/{keeper.pid}/ns/mnt",)

    def run(command: str) -> None:
        subprocess.run(["nsenter", *node.enter, "sh", "-c", command], cwd="/", check=True, capture_output=True)

    if request.param == "daemon":
        node.start_daemon()
    yield run
    if node.daemon is not None:
        node.stop_daemon()
    keeper.kill()
    keeper.wait()
    keeper.stdout.close()


def fill(node: Node) -> str:
    return f"head -c 1M /dev/zero > {node.state}/filling 2>/dev/null || true"


def test_on_a_full_disk_nothing_is_attached(idle_node: Node, disk: Callable[[str], None]) -> None:
    node, before = idle_node, idle_node.vf_link()
    disk(fill(node))
    pod = node.pod()
    said = node.call("ADD", node.config(), netns=pod.path)
    assert said.code == 102, said
    assert "ENOSPC" in str(said.json["msg"])
    assert "nothing is attached without a record: make room" in str(said.json["msg"])
    assert (node.vf_link(), set(pod.links())) == (before, {"lo"})
    assert node.call("STATUS", node.config(cniVersion="1.1.0")).code == 50
    disk(f"rm {node.state}/filling")
    assert node.call("ADD", node.config(), netns=pod.path).status == 0


def test_a_disk_that_filled_up_meanwhile_does_not_keep_a_vf(idle_node: Node, disk: Callable[[str], None]) -> None:
    node, before = idle_node, idle_node.vf_link()
    pod = node.pod()
    assert node.call("ADD", node.config(mtu=1400), netns=pod.path).status == 0
    disk(fill(node))
    assert node.call("DEL", node.config(), netns=pod.path).status == 0
    assert node.vf_link() == before
    disk(f'test -z "$(ls -A {node.state}/attachments {node.state}/vfs | grep -v :$)"')


def test_on_a_read_only_disk_nothing_is_attached_and_nothing_lost(idle_node: Node, disk: Callable[[str], None]) -> None:
    node, before = idle_node, idle_node.vf_link()
    pod, other = node.pod(), node.pod()
    added = node.call("ADD", node.config(mtu=1400), netns=pod.path)
    assert added.status == 0, added
    disk(f"mount -o remount,ro none {node.state}")
    said = node.call("ADD", node.config(1), netns=other.path, container="c2")
    assert (said.code, "EROFS" in str(said.json["msg"])) == (102, True), said
    assert set(other.links()) == {"lo"}
    assert node.call("STATUS", node.config(cniVersion="1.1.0")).code == 50
    assert node.call("CHECK", node.config(prevResult=added.json), netns=pod.path).status == 0
    assert node.call("DEL", node.config(), netns=pod.path).code == 102
    disk(f"mount -o remount,rw none {node.state}")
    assert node.call("DEL", node.config(), netns=pod.path).status == 0
    assert node.vf_link() == before
