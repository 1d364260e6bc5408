"""A namespace with a veth pair whose one end is the link under test, the other a wire on which a test can listen."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sriov.kernel.link import Links, open_rtnetlink
from sriov.kernel.netlink import NetlinkSocket
from sriov.link import Link


@dataclass(frozen=True)
class Place:
    """A namespace with one veth pair: ``net1``, the link under test, and ``wire``; both up, without addresses."""

    path: str
    netns: int
    netlink: NetlinkSocket
    index: int

    @property
    def link(self) -> Link:
        link = Links(self.netlink).find_index(self.index)
        assert link is not None
        return link

    def run(self, *command: str) -> str:
        done = subprocess.run(["nsenter", f"--net={self.path}", *command], check=True, capture_output=True, text=True)
        return done.stdout

    def ip(self, *arguments: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.run("ip", "-json", *arguments) or "[]")
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    script = "ip link add net1 type veth peer name wire && ip link set wire up && ip link set net1 up && echo && exec sleep 300"
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    try:
        if not keeper.stdout.readline():
            pytest.skip("cannot make network namespaces here")
        path = f"/proc/{keeper.pid}/ns/net"
        descriptor = os.open(path, os.O_RDONLY)
        with open_rtnetlink(subject="test", netns=descriptor) as netlink:
            link = Links(netlink).find("net1")
            assert link is not None
            yield Place(path, descriptor, netlink, link.index)
        os.close(descriptor)
    finally:
        keeper.kill()
        keeper.wait()
        keeper.stdout.close()
