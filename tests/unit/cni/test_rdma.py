"""A VF without RDMA device, or a kernel without RDMA, is asked nothing. Devices that move are the lab's."""

from __future__ import annotations

from pathlib import Path

from cni.rdma import find_rdma
from sriov.kernel.sysfs import Sysfs
from sriov.model import PciAddress
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf


def test_a_vf_without_rdma_device_needs_none_to_move(tmp_path: Path) -> None:
    sysfs = FakeSysfs(tmp_path, FakePf("0000:03:00.0", "pf0", (FakeVf("0000:03:10.0", "vf0"),)))
    assert find_rdma(PciAddress(0, 3, 16, 0), sysfs=Sysfs(sysfs.root)) == ""
