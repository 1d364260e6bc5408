"""Uevents of a private network namespace."""

from __future__ import annotations

import select
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov.kernel.netns import open_netns, run_in
from sriov.kernel.uevent import open_uevents

pytestmark = pytest.mark.netns


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"dpukit-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_new_network_device_is_heard_of(namespace: str) -> None:
    def listen() -> tuple[bool, bool, bool]:
        with open_uevents() as uevents:
            before = uevents.drain("net")
            subprocess.run(["ip", "-n", namespace, "link", "add", "v0", "type", "veth", "peer", "v1"], check=True)
            select.select([uevents], [], [], 5)
            return before, uevents.drain("net"), uevents.drain("net")

    with open_netns(Path("/run/netns") / namespace) as descriptor:
        assert run_in(descriptor, listen) == (False, True, False)
