"""libcni itself calls dpukit, with what no runtime of Debian's sends yet: CHECK, GC, STATUS, and CNI 1.1.0."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import golang
from tests.netns.cni.conftest import IPAM_PATH, VFS, Namespace, Node, idle_node, ipam, node

__all__ = ["idle_node", "ipam", "node"]

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("ipam")]

MAC = "0a:58:0a:09:00:63"


class Cnitool:
    """`cnitool` beside a node; its cache, which is always in /var/lib/cni, is in the node's folder."""

    def __init__(self, program: Path, node: Node) -> None:
        self._program, self._node = program, node
        for name in ("libcni", "net.d"):
            (node.folder / name).mkdir()

    def run(self, verb: str, pod: Namespace, plugins: list[dict[str, object]], *, version: str) -> tuple[int, str, str]:
        """Let it do a verb. Returns its exit status, what it printed, and what it complained of."""
        node = self._node
        config = {"cniVersion": version, "name": "net0", "plugins": plugins}
        (node.folder / "net.d/net0.conflist").write_text(json.dumps(config), encoding="utf-8")
        environment = node.environment() | {
            "CNI_PATH": f"{node.executable.parent}{os.pathsep}{IPAM_PATH}", "CNI_IFNAME": "net1",
            "NETCONFPATH": str(node.folder / "net.d"), "CAP_ARGS": json.dumps({"mac": MAC}),
        }  # fmt: skip
        mount = "mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/cni && mount --bind {} /var/lib/cni"
        script = f"{mount.format(node.folder / 'libcni')} && exec {self._program} {verb} net0 {pod.path}"
        words = ["nsenter", f"--net={node.home.path}", "unshare", "--mount", "sh", "-c", script]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def succeed(self, verb: str, pod: Namespace, plugins: list[dict[str, object]], *, version: str) -> dict[str, Any]:
        status, said, complaint = self.run(verb, pod, plugins, version=version)
        assert status == 0, (verb, said, complaint)
        found: dict[str, Any] = json.loads(said or "{}")
        return found


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return golang.build(golang.CNITOOL)
    except golang.GoError as error:
        pytest.skip(str(error))


def test_a_whole_life_in_1_1_0(program: Path, node: Node) -> None:
    before, pod, cnitool = node.vf_link(), node.pod(), Cnitool(program, node)
    plugins = [{**node.config(), "capabilities": {"mac": True}}]
    cnitool.succeed("status", pod, plugins, version="1.1.0")
    (interface,) = cnitool.succeed("add", pod, plugins, version="1.1.0")["interfaces"]
    assert interface == {"name": "net1", "mac": MAC, "mtu": 1500, "sandbox": pod.path, "pciID": VFS[0]}
    assert pod.links()["net1"]["address"] == MAC
    cnitool.succeed("check", pod, plugins, version="1.1.0")
    pod.run("ip", "link", "set", "net1", "mtu", "1300")
    status, _, complaint = cnitool.run("check", pod, plugins, version="1.1.0")
    assert status == 1
    assert "1300" in complaint
    # cnitool's GC is a DEL of all that its cache knows, then a GC of each plugin, without the list that the specification requires.
    status, _, complaint = cnitool.run("gc", pod, plugins, version="1.1.0")
    assert status == 1
    assert "cni.dev/valid-attachments" in complaint
    assert (node.vf_link(), node.leftovers()) == (before, [])
    cnitool.succeed("del", pod, plugins, version="1.1.0")


def test_gc_without_a_list_of_what_is_valid_releases_nothing(program: Path, node: Node) -> None:
    before, pod, cnitool = node.vf_link(), node.pod(), Cnitool(program, node)
    plugins = [{**node.config()}]
    cnitool.succeed("add", pod, plugins, version="1.1.0")
    for file in (node.folder / "libcni/results").iterdir():
        file.unlink()
    assert cnitool.run("gc", pod, plugins, version="1.1.0")[0] == 1
    assert "net1" in pod.links()
    cnitool.succeed("del", pod, plugins, version="1.1.0")
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_a_chain_with_addresses_in_1_0_0(program: Path, node: Node) -> None:
    before, pod, cnitool = node.vf_link(), node.pod(), Cnitool(program, node)
    tuning = {"type": "tuning", "mtu": 1300, "dataDir": str(node.folder / "tuning")}
    plugins: list[dict[str, object]] = [{"type": "loopback"}, dict(node.config(ipam=True)), tuning]
    said = cnitool.succeed("add", pod, plugins, version="1.0.0")
    assert [address["address"] for address in said["ips"] if address.get("interface") == 1] == [
        "10.9.0.2/24",
        "fd09::2/64",
    ]
    assert pod.links()["net1"]["mtu"] == 1300
    cnitool.succeed("check", pod, plugins, version="1.0.0")
    for _ in range(2):
        cnitool.succeed("del", pod, plugins, version="1.0.0")
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_status_is_not_ready_when_the_ipam_plugin_is_missing(program: Path, node: Node) -> None:
    pod, cnitool = node.pod(), Cnitool(program, node)
    plugins = [{**node.config(), "ipam": {"type": "absent-ipam"}}]
    status, _, complaint = cnitool.run("status", pod, plugins, version="1.1.0")
    assert status == 1
    assert "absent-ipam" in complaint
