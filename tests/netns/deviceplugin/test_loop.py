"""The whole device plugin against the kubelet stand-in: devices arrive, change, and survive the kubelet's habits."""

from __future__ import annotations

import gc
import json
import os
import shutil
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.fakes.kubelet import Kubelet, read_environment

if TYPE_CHECKING:
    from tests.netns.deviceplugin.conftest import Node

pytestmark = pytest.mark.netns

VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4", "0000:01:10.6")
NAME = "example.com/vfs"
POOL: dict[str, object] = {
    "resourcePrefix": "example.com",
    "resourceName": "vfs",
    "selectors": [{"pfNames": ["ens1f0"], "drivers": ["igbvf"]}],
}


def test_pools_reach_the_kubelet_with_health_and_numa_node(node: Node) -> None:
    first = {**POOL, "resourceName": "first", "selectors": [{"pfNames": ["ens1f0#0-1"]}]}
    rest = {**POOL, "resourceName": "rest", "selectors": {"vendors": ["8086"]}, "excludeTopology": True}
    with node.plugin(first, rest):
        node.kubelet.wait_for_healthy("example.com/first", VFS[:2])
        node.kubelet.wait_for_healthy("example.com/rest", VFS[2:])
        with_topology = node.kubelet.resources["example.com/first"].devices[VFS[0]]
        without = node.kubelet.resources["example.com/rest"].devices[VFS[2]]
        assert [numa.ID for numa in with_topology.topology.nodes] == [1]
        assert not without.HasField("topology")


def test_allocate_tells_the_container_and_writes_the_device_file(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        ids, response = node.kubelet.allocate(NAME, 2)
        environment = read_environment(response)
        assert environment["PCIDEVICE_EXAMPLE_COM_VFS"] == ",".join(ids)
        path = node.device_files / f"example.com-vfs-{ids[0]}-device.json"
        assert json.loads(path.read_text()) == {
            "type": "pci",
            "version": "1.1.0",
            "pci": {"pci-address": ids[0], "pf-pci-address": "0000:01:00.0"},
        }
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_unknown_and_unhealthy_devices_are_not_allocated(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        with pytest.raises(grpc.RpcError) as unknown:
            node.kubelet.allocate_ids(NAME, ["0000:99:00.0"])
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
        assert "not in the pool example.com/vfs" in unknown.value.details()
        node.sysfs.bind(VFS[0], None)
        node.watch.wake()
        node.kubelet.wait_for_healthy(NAME, VFS[1:])
        with pytest.raises(grpc.RpcError) as unhealthy:
            node.kubelet.allocate_ids(NAME, [VFS[1], VFS[0]])
        assert unhealthy.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "no driver is bound, the pool wants igbvf" in unhealthy.value.details()
        assert not node.device_files.exists()


def test_a_vf_inside_a_pod_stays_advertised(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        lists = len(node.kubelet.resources[NAME].lists)
        node.sysfs.place_netdev(VFS[0], None)
        node.watch.wake()
        node.sysfs.bind(VFS[1], None)
        node.watch.wake()
        node.kubelet.wait_for_healthy(NAME, (VFS[0], *VFS[2:]))
        assert set(node.kubelet.resources[NAME].lists[lists]) == set(VFS)


def test_vfs_that_go_and_come_are_told_without_a_restart(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        node.sysfs.remove_vfs("0000:01:00.0")
        node.watch.wake()
        node.kubelet.wait_for_healthy(NAME, ())
        assert node.kubelet.resources[NAME].lists[-1] == dict.fromkeys(VFS, "Unhealthy")
        (node.sysfs.root / "bus/pci/devices/0000:01:00.0/sriov_numvfs").write_text("2")
        node.sysfs.settle_num_vfs("0000:01:00.0", netdev_prefix="v")
        node.watch.wake()
        node.kubelet.wait_for_healthy(NAME, (VFS[0], "0000:01:10.1"))


def test_a_restarted_kubelet_has_the_devices_again(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        given, _ = node.kubelet.allocate(NAME, 1)
        node.kubelet.restart()
        node.kubelet.wait_for_healthy(NAME, VFS)
        again, _ = node.kubelet.allocate(NAME, 3)
        assert not set(given) & set(again)


def test_many_restarts_leave_no_threads_and_no_descriptors(node: Node) -> None:
    with node.plugin(POOL):
        counts = []
        for _ in range(20):
            node.kubelet.wait_for_healthy(NAME, VFS)
            counts.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
            node.kubelet.restart()
            gc.collect()
        node.kubelet.wait_for_healthy(NAME, VFS)
        # What leaks grows by one or more with each restart. gRPC keeps threads and descriptors of its own, which come and
        # go in its own time, by a few.
        restarts = len(counts) - 5
        for before, after in zip(counts[4], counts[-1], strict=True):
            assert after - before < restarts // 2, counts


def test_a_deleted_socket_is_served_again(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        registered = len(node.kubelet.registrations)
        (node.kubelet.folder / "example.com_vfs.sock").unlink()
        node.kubelet.wait_for(lambda: len(node.kubelet.registrations) > registered)
        node.kubelet.wait_for_healthy(NAME, VFS)


def test_a_refusing_kubelet_is_asked_again(node: Node) -> None:
    node.kubelet.refusal = "not yet"
    with node.plugin(POOL):
        time.sleep(0.3)
        node.kubelet.refusal = ""
        node.kubelet.wait_for_healthy(NAME, VFS)


def test_an_absent_kubelet_is_waited_for(node: Node) -> None:
    node.kubelet.stop()
    (node.kubelet.folder / "kubelet.sock").unlink(missing_ok=True)
    with node.plugin(POOL):
        time.sleep(0.3)
        node.kubelet.start()
        node.kubelet.wait_for_healthy(NAME, VFS)


def test_a_kubelet_that_ends_its_stream_is_registered_with_again(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        node.kubelet.end_streams()
        node.kubelet.wait_for_healthy(NAME, ())
        node.kubelet.wait_for(lambda: node.kubelet.resources[NAME].is_open, seconds=15)
        node.kubelet.wait_for_healthy(NAME, VFS)


def test_a_clean_stop_ends_the_streams_and_removes_the_sockets(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
    node.kubelet.wait_for_healthy(NAME, ())
    assert sockets(node.kubelet) == ["kubelet.sock"]


def test_a_pool_without_vfs_is_advertised_as_empty(node: Node) -> None:
    with node.plugin({**POOL, "selectors": [{"pfNames": ["other"]}]}):
        node.kubelet.wait_for(lambda: bool(node.kubelet.resources.get(NAME) and node.kubelet.resources[NAME].lists))
        assert node.kubelet.resources[NAME].lists == [{}]


def test_files_of_devices_that_are_no_more_are_removed_at_start(node: Node) -> None:
    node.device_files.mkdir()
    stale = node.device_files / "example.com-vfs-0000:77:00.1-device.json"
    foreign = node.device_files / "example.com-vfs-two-0000:77:00.1-device.json"
    for path in (stale, foreign):
        path.write_text("{}")
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
    assert not stale.exists()
    assert foreign.exists()


def test_a_folder_removed_with_all_that_was_in_it_is_made_and_served_again(node: Node) -> None:
    with node.plugin(POOL):
        node.kubelet.wait_for_healthy(NAME, VFS)
        node.kubelet.stop()
        shutil.rmtree(node.kubelet.folder)
        node.kubelet.start()
        node.kubelet.wait_for_healthy(NAME, VFS)


def test_a_pool_that_cannot_be_served_does_not_stop_the_others(node: Node) -> None:
    with node.plugin({**POOL, "resourcePrefix": "x" * 60 + ".example.com", "resourceName": "v" * 60}, POOL):
        node.kubelet.wait_for(lambda: NAME in node.kubelet.resources)


def sockets(kubelet: Kubelet) -> list[str]:
    return sorted(path.name for path in Path(kubelet.folder).iterdir())
