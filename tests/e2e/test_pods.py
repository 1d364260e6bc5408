"""Pods come and go: what every pod meets, and many of them at once."""

from __future__ import annotations

import queue
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.node import Node

pytestmark = pytest.mark.e2e

AT_ONCE = 20
IN_ALL = 200
IN_ALL_WITHOUT_DAEMON = 40
"""Each call then starts an interpreter with everything in it: five times the work."""


def test_a_pod_has_its_vf_and_gives_it_back(node: Node) -> None:
    vf = node.devices.vfs[0]
    before = node.devices.look()
    sandbox = node.run_pod(vf)
    status, interface = node.cri.read_pod(sandbox), node.interface(sandbox)
    assert status.is_ready
    assert interface is not None
    assert (interface["mtu"], "UP" in interface["flags"]) == (1400, True)
    assert status.ip in [address["local"] for address in interface["addr_info"]]
    assert vf not in node.devices.look()
    record = node.record(sandbox)
    assert record is not None
    assert (record["vf"], record["phase"]) == (vf, "done")
    node.cri.stop_pod(sandbox)
    assert node.devices.look() == before
    assert node.record(sandbox) is None
    node.cri.remove_pod(sandbox)


@pytest.mark.timeout(600)
def test_many_pods_twenty_at_once_hand_the_vfs_on(node: Node, tell: Callable[[str], None]) -> None:
    """A VF is given to the next pod between the first and the last DEL of the one before: kubelet does the same."""
    count = IN_ALL if node.daemon else IN_ALL_WITHOUT_DAEMON
    free: queue.Queue[str] = queue.Queue()
    for vf in node.devices.vfs[:AT_ONCE]:
        free.put(vf)
    times: dict[str, list[float]] = {"run": [], "stop": [], "remove": []}

    def live(_: int) -> str:
        vf = free.get()
        began = time.monotonic()
        sandbox = node.run_pod(vf)
        times["run"].append(time.monotonic() - began)
        address = node.cri.read_pod(sandbox).ip
        record = node.record(sandbox)
        assert record is not None
        assert (record["vf"], record["phase"]) == (vf, "done")
        began = time.monotonic()
        node.cri.stop_pod(sandbox)
        times["stop"].append(time.monotonic() - began)
        assert vf in node.devices.look()
        free.put(vf)
        began = time.monotonic()
        node.cri.remove_pod(sandbox)
        times["remove"].append(time.monotonic() - began)
        return address

    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        addresses = list(pool.map(live, range(count)))
    assert all(address.startswith("10.244.") for address in addresses)
    with_or_without = "with" if node.daemon else "without"
    tell(f"{count} pods, {AT_ONCE} at once, {with_or_without} daemon, in {time.monotonic() - began:.0f} s")
    for what, seconds in times.items():
        tell(f"  {what:6} median {statistics.median(seconds) * 1000:.0f} ms, worst {max(seconds) * 1000:.0f} ms")
