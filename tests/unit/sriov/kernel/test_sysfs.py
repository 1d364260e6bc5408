"""What sysfs says, read from a folder of its shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from sriov.errors import InputError, KernelError, NotFoundError
from sriov.kernel.sysfs import Sysfs
from sriov.model import NetdevState, PciAddress, Vf
from sriov.representor import VfPort
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

PF = PciAddress.parse("0000:01:00.0")
VF0, VF1 = PciAddress.parse("0000:01:10.0"), PciAddress.parse("0000:01:10.2")
VFS = (FakeVf(str(VF0), "ens1f0v0"), FakeVf(str(VF1), None, driver="vfio-pci"))


def sysfs(root: Path, *pfs: FakePf) -> tuple[Sysfs, FakeSysfs]:
    fake = FakeSysfs(root / "sys", *pfs)
    return Sysfs(root / "sys"), fake


def test_a_pf_is_read_with_its_vfs_in_order(tmp_path: Path) -> None:
    reader, _ = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS, numa_node=1, mtu=9000))
    (pf,) = reader.read_pfs()
    assert (pf.address, pf.netdev, pf.driver, pf.numa_node, pf.mtu) == (PF, "ens1f0", "igb", 1, 9000)
    assert (pf.vendor, pf.device, pf.num_vfs, pf.total_vfs, pf.carrier) == ("8086", "10c9", 2, 7, True)
    assert pf.vfs == (Vf(VF0, 0, "igbvf", "ens1f0v0"), Vf(VF1, 1, "vfio-pci", None))


def test_a_platform_without_numa_says_none(tmp_path: Path) -> None:
    reader, _ = sysfs(tmp_path, FakePf(str(PF), numa_node=-1))
    found = reader.find_pf(PF)
    assert found is not None
    assert found.numa_node is None


def test_a_function_that_cannot_have_vfs_is_no_pf(tmp_path: Path) -> None:
    reader, _ = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    assert reader.find_pf(VF0) is None
    assert reader.find_pf(PciAddress.parse("0000:ff:00.0")) is None


def test_a_vf_is_found_with_its_pf(tmp_path: Path) -> None:
    reader, _ = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    assert reader.read_vf(VF1) == (PF, Vf(VF1, 1, "vfio-pci", None))


@pytest.mark.parametrize(("offset", "stride"), [(128, 2), (127, 2), (1, 0), (500, 1)])
def test_the_number_of_a_vf_is_computed_and_made_sure(tmp_path: Path, offset: int, stride: int) -> None:
    """The first pair is the 82576's own; the others are what no device should say, and are found out."""
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    for name, number in (("sriov_offset", offset), ("sriov_stride", stride)):
        (fake.root / f"bus/pci/devices/{PF}" / name).write_text(f"{number}\n", encoding="ascii")
    assert [reader.read_vf(address)[1].index for address in (VF0, VF1)] == [0, 1]


def test_the_rdma_device_of_a_function_is_named_while_it_is_here(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    (fake.root / f"bus/pci/devices/{VF0}/infiniband/mlx5_2").mkdir(parents=True)
    assert (reader.find_rdma_device(VF0), reader.find_rdma_device(VF1)) == ("mlx5_2", None)


def test_an_absent_vf_and_one_that_is_a_pf_are_told_apart(tmp_path: Path) -> None:
    reader, _ = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    with pytest.raises(NotFoundError, match=r"0000:02:10\.0: there is no such PCI function"):
        reader.read_vf(PciAddress.parse("0000:02:10.0"))
    with pytest.raises(InputError, match="is not a VF"):
        reader.read_vf(PF)


def test_a_vf_whose_pf_no_longer_lists_it_is_told(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    (fake.root / f"bus/pci/devices/{PF}/virtfn1").unlink()
    with pytest.raises(NotFoundError, match="does not list it"):
        reader.read_vf(VF1)


def test_the_uplink_is_told_from_representors_in_the_same_folder(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "zz0"))
    fake.place_netdev(str(PF), "zz0", phys_port_name="p0", phys_switch_id="aa")
    folder = fake.root / f"bus/pci/devices/{PF}/net/aa0"
    folder.mkdir()
    (folder / "phys_port_name").write_text("pf0vf0\n", encoding="ascii")
    (fake.root / "class/net/aa0").symlink_to(folder)
    assert reader.find_pf_netdev(PF) == "zz0"


def test_switch_ports_are_those_with_a_switch_and_a_port_name(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "p0"), FakePf("0000:02:00.0", "eth0"))
    fake.place_netdev(str(PF), "rep", phys_port_name="c1pf0vf3", phys_switch_id="aa", ifindex=7)
    (port,) = reader.read_switch_ports()
    assert (port.netdev, port.ifindex, port.switch_id, port.vf_port) == ("rep", 7, "aa", VfPort(1, 0, 3))


def test_entries_that_vanish_while_they_are_read_are_absent(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    (fake.root / "class/net/ens1f0/mtu").unlink()
    (fake.root / f"bus/pci/devices/{PF}/driver").unlink()
    found = reader.find_pf(PF)
    assert found is not None
    assert (found.mtu, found.driver) == (None, None)


def test_a_machine_without_pci_has_no_pfs(tmp_path: Path) -> None:
    assert Sysfs(tmp_path).read_pfs() == ()


def test_the_number_of_vfs_is_written(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0"))
    reader.write_num_vfs(PF, 3)
    fake.settle_num_vfs(str(PF), netdev_prefix="ens1f0v")
    assert [vf.netdev for vf in reader.read_vfs(PF)] == ["ens1f0v0", "ens1f0v1", "ens1f0v2"]


def test_a_refused_number_of_vfs_names_the_pf_and_the_file(tmp_path: Path) -> None:
    reader, _ = sysfs(tmp_path)
    with pytest.raises(KernelError, match=r"PF 0000:01:00.0: kernel refused to write 3 to sriov_numvfs: ENOENT"):
        reader.write_num_vfs(PF, 3)


def test_a_pf_knows_the_device_id_of_its_vfs_with_leading_zeros(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), vf_device="6f"))
    found = reader.find_pf(PF)
    assert found is not None
    assert found.vf_device == "006f"
    (fake.root / f"bus/pci/devices/{PF}/sriov_vf_device").unlink()
    found = reader.find_pf(PF)
    assert found is not None
    assert found.vf_device == ""


def test_a_network_devices_state_is_read_and_absent_ones_have_none(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0", mtu=9000))
    assert reader.find_netdev_state("ens1f0") == NetdevState("ens1f0", 9000, up=True, carrier=True)
    (fake.root / "class/net/ens1f0/flags").write_text("0x1002\n", encoding="ascii")
    (fake.root / "class/net/ens1f0/carrier").unlink()
    assert reader.find_netdev_state("ens1f0") == NetdevState("ens1f0", 9000, up=False, carrier=None)
    assert reader.find_netdev_state("ens9f0") is None


def test_mtu_and_admin_state_are_written(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0"))
    (fake.root / "class/net/ens1f0/flags").write_text("0x1002\n", encoding="ascii")
    reader.write_mtu("ens1f0", 9000)
    reader.write_up("ens1f0")
    assert (fake.root / "class/net/ens1f0/flags").read_text(encoding="ascii") == "0x1003\n"
    assert reader.find_netdev_state("ens1f0") == NetdevState("ens1f0", 9000, up=True, carrier=True)
    with pytest.raises(KernelError, match="ens9f0: kernel refused to set MTU 9000: ENOENT"):
        reader.write_mtu("ens9f0", 9000)


def test_the_kernel_is_asked_to_look_for_a_driver(tmp_path: Path) -> None:
    reader, fake = sysfs(tmp_path, FakePf(str(PF), "ens1f0", VFS))
    reader.write_probe(VF0)
    assert (fake.root / "bus/pci/drivers_probe").read_text(encoding="ascii") == f"{VF0}\n"
