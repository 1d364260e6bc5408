"""Waiting for a VF to come home: by event, not by the clock. What it finds and where is in test_restore."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from cni.observe import await_homecoming, find_at_home, is_same_netns, open_workplace
from sriov.errors import InputError, NotFoundError
from sriov.kernel.netns import run_in
from sriov.kernel.sysfs import Sysfs
from sriov.model import PciAddress
from tests.netns.cni.conftest import PF, VFS, Node

pytestmark = pytest.mark.netns
VF = PciAddress.parse(VFS[0])


def test_a_vf_that_comes_late_is_waited_for_by_event(idle_node: Node) -> None:
    pod, sysfs = idle_node.pod(), Sysfs(idle_node.sysfs.root)
    idle_node.home.run("ip", "link", "set", "vf0", "netns", str(pod.keeper.pid))
    found: list[object] = []
    looked = threading.Event()

    def wait() -> None:
        with open_workplace(VF, sysfs=sysfs, netns=None) as work:
            found.append(find_at_home(work, sysfs=sysfs))
            looked.set()
            began = time.monotonic()
            found.append(await_homecoming(work, sysfs=sysfs, timeout_s=30))
            found.append(time.monotonic() - began)

    descriptor = os.open(idle_node.home.path, os.O_RDONLY)
    thread = threading.Thread(target=run_in, args=(descriptor, wait))
    thread.start()
    assert looked.wait(30)
    time.sleep(0.1)
    pod.run("ip", "link", "set", "vf0", "netns", str(idle_node.home.keeper.pid))
    thread.join()
    os.close(descriptor)
    assert found[0] is None
    assert found[1] is not None
    assert isinstance(found[2], float)
    assert found[2] < 20


def test_a_vf_that_does_not_come_is_given_up(idle_node: Node) -> None:
    sysfs = Sysfs(idle_node.sysfs.root)
    idle_node.home.run("ip", "link", "del", "vf0")
    descriptor = os.open(idle_node.home.path, os.O_RDONLY)

    def wait() -> object:
        with open_workplace(VF, sysfs=sysfs, netns=None) as work:
            return await_homecoming(work, sysfs=sysfs, timeout_s=0.1)

    assert run_in(descriptor, wait) is None
    os.close(descriptor)


def test_what_is_no_vf_is_no_place_to_work(idle_node: Node) -> None:
    sysfs = Sysfs(idle_node.sysfs.root)
    for address, error in ((PF, InputError), ("0000:99:00.0", NotFoundError)):
        with pytest.raises(error), open_workplace(PciAddress.parse(address), sysfs=sysfs, netns=None):
            pass


def test_a_namespace_is_known_by_its_inode(idle_node: Node) -> None:
    path = idle_node.home.path
    inode = int(subprocess.run(["stat", "-Lc", "%i", path], check=True, capture_output=True).stdout)
    assert (is_same_netns(path, inode), is_same_netns(path, inode + 1)) == (True, False)
    assert is_same_netns("/nowhere", inode) is False
