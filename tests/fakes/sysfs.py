"""A folder of sysfs' shape, made from a declaration: PFs, their VFs, their network devices.

It holds what `sriov.kernel.sysfs.Sysfs` reads, in the kernel's own layout (``bus/pci/devices/<address>`` with ``physfn``
and ``virtfnN`` links, ``class/net/<name>``). It stands still: a test that lets the kernel move a device says so here with
`FakeSysfs.place_netdev`, and one that writes ``sriov_numvfs`` calls `FakeSysfs.settle_num_vfs` as the driver would.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class FakeVf:
    """One VF: its PCI address, its driver (None: none bound), its network device here (None: none)."""

    address: str
    netdev: str | None = None
    driver: str | None = "igbvf"


@dataclass(frozen=True)
class FakePf:
    """One PF and its VFs in the order of their numbers; the defaults are the emulated 82576's."""

    address: str
    netdev: str | None = None
    vfs: tuple[FakeVf, ...] = ()
    driver: str | None = "igb"
    total_vfs: int = 7
    vendor: str = "8086"
    device: str = "10c9"
    numa_node: int = -1
    mac: str = "52:54:00:00:00:01"
    mtu: int = 1500
    carrier: bool = True
    vf_device: str = "10ca"


class FakeSysfs:
    """The folder at `root`, which `Sysfs(root)` reads.

    Args:
        root: an empty folder of the test's own.
        pfs: what to put there at once.
    """

    def __init__(self, root: Path, *pfs: FakePf) -> None:
        self.root = root
        self._pfs: dict[str, FakePf] = {}
        (root / "bus/pci/devices").mkdir(parents=True)
        (root / "class/net").mkdir(parents=True)
        for pf in pfs:
            self.add_pf(pf)

    def add_pf(self, pf: FakePf) -> None:
        """Put `pf` and its VFs into the tree."""
        folder = self._add_function(pf.address, vendor=pf.vendor, device=pf.device, numa_node=pf.numa_node)
        _write(folder / "sriov_totalvfs", pf.total_vfs)
        _write(folder / "sriov_numvfs", 0)
        _write(folder / "sriov_vf_device", pf.vf_device)
        _write(folder / "sriov_drivers_autoprobe", 1)
        self._pfs[pf.address] = replace(pf, vfs=())
        self.bind(pf.address, pf.driver)
        if pf.netdev is not None:
            self.place_netdev(pf.address, pf.netdev, mac=pf.mac, mtu=pf.mtu, carrier=pf.carrier)
        for vf in pf.vfs:
            self.add_vf(pf.address, vf)

    def add_vf(self, pf: str, vf: FakeVf) -> None:
        """Add `vf` as the next of its PF."""
        owner = self._pfs[pf]
        folder = self._add_function(vf.address, vendor=owner.vendor, device=owner.vf_device, numa_node=owner.numa_node)
        (folder / "physfn").symlink_to(f"../{pf}")
        (self._folder(pf) / f"virtfn{len(owner.vfs)}").symlink_to(f"../{vf.address}")
        self._pfs[pf] = replace(owner, vfs=(*owner.vfs, vf))
        _write(self._folder(pf) / "sriov_numvfs", len(owner.vfs) + 1)
        self.bind(vf.address, vf.driver)
        if vf.netdev is not None:
            self.place_netdev(vf.address, vf.netdev)

    def remove_vfs(self, pf: str) -> None:
        """Take all VFs of `pf` away, as writing 0 to its ``sriov_numvfs`` does."""
        for number, vf in enumerate(self._pfs[pf].vfs):
            self.place_netdev(vf.address, None)
            (self._folder(pf) / f"virtfn{number}").unlink()
            shutil.rmtree(self._folder(vf.address))
        self._pfs[pf] = replace(self._pfs[pf], vfs=())
        _write(self._folder(pf) / "sriov_numvfs", 0)

    def settle_num_vfs(self, pf: str, *, netdev_prefix: str | None = None) -> None:
        """Make the VFs that ``sriov_numvfs`` asks for now; with `netdev_prefix` each gets a network device."""
        wanted = int((self._folder(pf) / "sriov_numvfs").read_text(encoding="ascii"))
        self.remove_vfs(pf)
        bus = pf.rpartition(":")[0]
        for number in range(wanted):
            address = f"{bus}:{0x10 + number // 8:02x}.{number % 8:x}"
            netdev = f"{netdev_prefix}{number}" if netdev_prefix else None
            self.add_vf(pf, FakeVf(address, netdev))

    def bind(self, address: str, driver: str | None) -> None:
        """Bind the function to `driver`, or to none."""
        link = self._folder(address) / "driver"
        link.unlink(missing_ok=True)
        if driver is not None:
            (self.root / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../../drivers/{driver}")

    def place_netdev(
        self,
        address: str,
        name: str | None,
        *,
        mac: str = "52:54:00:00:00:02",
        mtu: int = 1500,
        carrier: bool = True,
        ifindex: int = 1,
        phys_port_name: str = "",
        phys_switch_id: str = "",
    ) -> None:
        """Let the function's one network device here be `name`; None: it has none here (it is in a pod)."""
        net = self._folder(address) / "net"
        for old in net.iterdir() if net.exists() else ():
            (self.root / "class/net" / old.name).unlink(missing_ok=True)
        shutil.rmtree(net, ignore_errors=True)
        if name is None:
            return
        folder = net / name
        folder.mkdir(parents=True)
        _write(folder / "address", mac)
        _write(folder / "mtu", mtu)
        _write(folder / "flags", "0x1003")
        _write(folder / "carrier", int(carrier))
        _write(folder / "ifindex", ifindex)
        _write(folder / "phys_port_name", phys_port_name)
        _write(folder / "phys_switch_id", phys_switch_id)
        (folder / "device").symlink_to("../..")
        (self.root / "class/net" / name).symlink_to(folder)

    def add_representor(self, pf: str, name: str, *, phys_port_name: str) -> None:
        """Let a representor stand in the PF's own folder, beside its uplink, as since Linux 5.8 in switchdev mode."""
        folder = self._folder(pf) / "net" / name
        folder.mkdir(parents=True)
        _write(folder / "phys_port_name", phys_port_name)
        _write(folder / "phys_switch_id", "0102")
        (self.root / "class/net" / name).symlink_to(folder)

    def place_rdma_device(self, address: str, name: str) -> None:
        """Let the function have an RDMA device."""
        (self._folder(address) / "infiniband" / name).mkdir(parents=True)

    def _add_function(self, address: str, *, vendor: str, device: str, numa_node: int) -> Path:
        folder = self._folder(address)
        folder.mkdir()
        _write(folder / "vendor", f"0x{vendor}")
        _write(folder / "device", f"0x{device}")
        _write(folder / "numa_node", numa_node)
        _write(folder / "class", "0x020000")
        return folder

    def _folder(self, address: str) -> Path:
        return self.root / "bus/pci/devices" / address


def _write(path: Path, value: object) -> None:
    path.write_text(f"{value}\n", encoding="ascii")
