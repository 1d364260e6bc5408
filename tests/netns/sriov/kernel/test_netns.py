"""Entering a namespace touches one thread only, and tells its faults."""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov.errors import InputError, NotFoundError
from sriov.kernel import netns

pytestmark = pytest.mark.netns


@pytest.fixture
def namespace() -> Iterator[Path]:
    name = f"dpukit-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield Path("/run/netns") / name
    subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_function_runs_in_the_namespace_and_nothing_else_does(namespace: Path) -> None:
    before = netns.identify_own()
    with netns.open_netns(namespace) as descriptor:
        inside = netns.run_in(descriptor, lambda: os.stat("/proc/thread-self/ns/net").st_ino)
        assert inside == netns.identify(descriptor).inode != before.inode
    assert netns.identify_own() == before


def test_sysctls_inside_are_the_namespaces_own(namespace: Path) -> None:
    with netns.open_netns(namespace) as descriptor:
        links = netns.run_in(descriptor, lambda: sorted(os.listdir("/proc/sys/net/ipv4/conf")))
    assert links == ["all", "default", "lo"]


def test_what_the_function_raises_arrives(namespace: Path) -> None:
    def fail() -> None:
        raise LookupError("inside")

    with netns.open_netns(namespace) as descriptor, pytest.raises(LookupError, match="inside"):
        netns.run_in(descriptor, fail)
    assert all(thread.name != "in-netns" for thread in threading.enumerate())


def test_an_absent_namespace_is_named() -> None:
    with pytest.raises(NotFoundError, match="/run/netns/none-such"), netns.open_netns("/run/netns/none-such"):
        pass


def test_the_empty_file_a_reboot_leaves_is_no_namespace(tmp_path: Path) -> None:
    (tmp_path / "ns").touch()
    with pytest.raises(InputError, match="is not a network namespace"), netns.open_netns(tmp_path / "ns"):
        pass


def test_no_descriptor_is_left_open(namespace: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with netns.open_netns(namespace) as descriptor:
            netns.run_in(descriptor, lambda: None)
    assert len(os.listdir("/proc/self/fd")) == before
