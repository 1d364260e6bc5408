"""Provisioning and the device plugin on real igb PFs: VFs come, are advertised and allocated, fall ill, go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from sriov.kernel.uevent import open_uevents
from tests.fakes.kubelet import Kubelet, running_kubelet
from tests.lab.fabric import PCI
from tests.lab.model import Host, Lab
from tests.lab.vf import Pod, home_netdev, wait_for

RESOURCE = "example.com/vfs"


@dataclass
class Node:
    """A host's folders, and our programs run over them."""

    host: Host
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = os.environ | {
            "DPUKIT_STATE": str(self.folder / "state"),
            "DPUKIT_DEVICE_PLUGINS": str(self.folder / "plugins"),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dpukit", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def provision(self, verb: str, count: int, **spec: object) -> subprocess.CompletedProcess[str]:
        policy = {
            "apiVersion": "sriovnetwork.openshift.io/v1",
            "kind": "SriovNetworkNodePolicy",
            "metadata": {"name": "vfs"},
            "spec": {"resourceName": "vfs", "numVfs": count, "nicSelector": {"pfNames": [self.host.netdev]}, **spec},
        }
        path = self.folder / "policy.yaml"
        path.write_text(yaml.safe_dump(policy))
        return self.run("provision", verb, "--policy", str(path))

    def apply(self, count: int, **spec: object) -> str:
        done = self.provision("apply", count, **spec)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def vf_ids(self, count: int) -> list[str]:
        return [self.host.vf_pci(vf) for vf in range(count)]

    @property
    def num_vfs(self) -> int:
        return int((PCI / self.host.pf / "sriov_numvfs").read_text())

    def mtu(self, netdev: str | None) -> int:
        return int(Path(f"/sys/class/net/{netdev}/mtu").read_text())


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    folder = Path("/run/dpk")
    folder.mkdir()
    node = Node(lab.hosts[0], folder)
    yield node
    (PCI / node.host.pf / "sriov_drivers_autoprobe").write_text("1")
    if node.num_vfs:
        (PCI / node.host.pf / "sriov_numvfs").write_text("0")
    Path(f"/sys/class/net/{node.host.netdev}/mtu").write_text("1500")
    shutil.rmtree(folder)


@pytest.fixture
def plugin(node: Node) -> Iterator[Kubelet]:
    """A kubelet stand-in with the device plugin running beside it."""
    pool = {
        "resourcePrefix": "example.com",
        "resourceName": "vfs",
        "selectors": {"pfNames": [node.host.netdev], "drivers": ["igbvf"], "devices": ["10ca"]},
    }
    config = node.folder / "config.yaml"
    config.write_text(yaml.safe_dump({"resourceList": [pool], "deviceInfoDir": str(node.folder / "devinfo")}))
    with ExitStack() as stack:
        kubelet = stack.enter_context(running_kubelet(node.folder / "plugins"))
        log = stack.enter_context(Path("/out/logs/device-plugin.log").open("a"))
        command = [sys.executable, "-m", "deviceplugin", "--config", str(config)]
        process = stack.enter_context(subprocess.Popen(command, env=node.environment, stderr=log))
        try:
            kubelet.wait_for(lambda: RESOURCE in kubelet.resources, seconds=30)
            yield kubelet
        finally:
            process.terminate()
        assert process.wait(20) == 0


def healthy(kubelet: Kubelet) -> list[str]:
    found = kubelet.resources.get(RESOURCE)
    return found.healthy if found else []


def wait_for_healthy(kubelet: Kubelet, ids: list[str]) -> float:
    began = time.monotonic()
    kubelet.wait_for(lambda: healthy(kubelet) == sorted(ids), seconds=30)
    return time.monotonic() - began


def test_vfs_are_created_once_and_a_second_run_writes_nothing(node: Node) -> None:
    assert "create 7 VFs" in node.apply(7)
    assert node.num_vfs == 7
    before = {
        vf: (PCI / vf / "net" / str(home_netdev(node.host, n)) / "ifindex").read_text()
        for n, vf in enumerate(node.vf_ids(7))
    }
    with open_uevents() as uevents:
        uevents.drain()
        assert "as desired, nothing written" in node.apply(7)
        assert not uevents.drain("pci", "net")
    after = {
        vf: (PCI / vf / "net" / str(home_netdev(node.host, n)) / "ifindex").read_text()
        for n, vf in enumerate(node.vf_ids(7))
    }
    assert before == after
    assert node.provision("verify", 7).returncode == 0


def test_another_number_of_vfs_and_the_restored_state(node: Node) -> None:
    node.apply(2)
    said = node.apply(5)
    assert "remove all VFs" in said
    assert "create 5 VFs" in said
    assert node.num_vfs == 5
    restored = node.run("provision", "restore")
    assert restored.returncode == 0, restored.stderr
    assert node.num_vfs == 0
    assert "no PF was changed by dpukit" in node.run("provision", "restore").stdout


def test_more_vfs_than_the_pf_has_are_refused_with_the_limit(node: Node) -> None:
    done = node.provision("apply", 8)
    assert done.returncode == 2
    assert f"8 is more than the 7 VFs PF {node.host.pf} ({node.host.netdev}, 8086:10c9) can have" in done.stderr
    assert node.num_vfs == 0
    assert not (node.folder / "state").exists()


def test_the_mtu_is_set_on_pf_and_vfs(node: Node) -> None:
    node.apply(2, mtu=9000)
    assert node.mtu(node.host.netdev) == 9000
    assert [node.mtu(home_netdev(node.host, vf)) for vf in range(2)] == [9000, 9000]
    assert "as desired" in node.apply(2, mtu=9000)
    assert node.run("provision", "restore").returncode == 0
    assert node.mtu(node.host.netdev) == 1500


def test_vfs_inside_a_pod_are_not_taken_away(node: Node, make_pod: Callable[[str], Pod]) -> None:
    node.apply(3)
    pod = make_pod("dpk-use")
    pod.take_vf(node.host, 1)
    done = node.provision("apply", 7)
    assert done.returncode == 1
    assert f"VF {node.host.vf_pci(1)}: its network device is in another namespace" in done.stderr
    assert node.num_vfs == 3
    (pf,) = [pf for pf in json.loads(node.run("devices", "-o", "json").stdout) if pf["address"] == node.host.pf]
    assert [vf["inOtherNamespace"] for vf in pf["vfs"]] == [False, True, False]


def test_what_others_manage_is_only_verified(node: Node) -> None:
    node.apply(2)
    assert node.provision("apply", 2, externallyManaged=True).returncode == 0
    done = node.provision("apply", 4, externallyManaged=True)
    assert done.returncode == 1
    assert "has 2 VFs, policy vfs wants at least 4" in done.stderr
    assert node.num_vfs == 2


def test_vfs_get_their_driver_where_the_kernel_does_not_probe(node: Node) -> None:
    (PCI / node.host.pf / "sriov_drivers_autoprobe").write_text("0")
    assert "set sriov_drivers_autoprobe 1" in node.apply(1)
    assert (PCI / node.host.vf_pci(0) / "driver").resolve().name == "igbvf"
    (PCI / node.host.vf_pci(0) / "driver/unbind").write_text(node.host.vf_pci(0))
    assert "bind a driver to VF" in node.apply(1)
    assert home_netdev(node.host, 0)


def test_devices_are_told_with_driver_mtu_and_link(node: Node) -> None:
    node.apply(2)
    (pf,) = [pf for pf in json.loads(node.run("devices", "-o", "json").stdout) if pf["address"] == node.host.pf]
    assert (pf["netdev"], pf["driver"], pf["vendor"], pf["device"]) == (node.host.netdev, "igb", "8086", "10c9")
    assert (pf["vfDevice"], pf["numVfs"], pf["totalVfs"], pf["eswitchMode"]) == ("10ca", 2, 7, None)
    assert (pf["mtu"], pf["up"], pf["carrier"]) == (1500, True, True)
    assert [(vf["address"], vf["driver"], vf["mtu"]) for vf in pf["vfs"]] == [
        (vf, "igbvf", 1500) for vf in node.vf_ids(2)
    ]


def test_real_vfs_are_advertised_and_allocated(node: Node, plugin: Kubelet) -> None:
    wait_for_healthy(plugin, [])
    node.apply(4)
    wait_for_healthy(plugin, node.vf_ids(4))
    ids, response = plugin.allocate(RESOURCE, 2)
    assert response.envs["PCIDEVICE_EXAMPLE_COM_VFS"] == ",".join(ids)
    written = json.loads((node.folder / f"devinfo/example.com-vfs-{ids[0]}-device.json").read_text())
    assert written["pci"] == {"pci-address": ids[0], "pf-pci-address": node.host.pf}


def test_a_vf_inside_a_pod_stays_and_one_without_driver_falls_ill(
    node: Node, plugin: Kubelet, make_pod: Callable[[str], Pod]
) -> None:
    node.apply(3)
    ids = node.vf_ids(3)
    wait_for_healthy(plugin, ids)
    make_pod("dpk-stay").take_vf(node.host, 0)
    driver = (PCI / ids[1] / "driver").resolve()
    (driver / "unbind").write_text(ids[1])
    ill = wait_for_healthy(plugin, [ids[0], ids[2]])
    (driver / "bind").write_text(ids[1])
    well = wait_for_healthy(plugin, ids)
    print(f"unbind to Unhealthy {ill * 1000:.0f} ms, bind to Healthy {well * 1000:.0f} ms")
    assert max(ill, well) < 5, "by event, not by the poll of ten seconds"


def test_vfs_are_back_after_the_kubelet_restarted(node: Node, plugin: Kubelet) -> None:
    node.apply(2)
    wait_for_healthy(plugin, node.vf_ids(2))
    for _ in range(3):
        plugin.restart()
        wait_for_healthy(plugin, node.vf_ids(2))


def test_vfs_that_are_removed_are_told_as_ill(node: Node, plugin: Kubelet) -> None:
    node.apply(2)
    wait_for_healthy(plugin, node.vf_ids(2))
    node.apply(0)
    wait_for_healthy(plugin, [])
    wait_for(
        lambda: set(plugin.resources[RESOURCE].lists[-1].values()) == {"Unhealthy"}, "both to be told as unhealthy"
    )
