"""Read PCI functions, their VFs and their network devices from sysfs, write ``sriov_numvfs``.

Files and their meaning: Documentation/ABI/testing/sysfs-bus-pci and sysfs-class-net (Linux 6.12). ``/sys/class/net`` and
a device's ``net`` folder show only devices of the network namespace sysfs was mounted in; a VF inside a pod has no
network device here. Entries may vanish while they are read: what is gone is absent, never an error, except for the
object a caller named.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sriov.errors import InputError, KernelError, NotFoundError
from sriov.model import MacAddress, NetdevState, PciAddress, Pf, Vf
from sriov.representor import Flavour, PortName, SwitchPort

DEFAULT_ROOT = Path("/sys")

_IFF_UP = 0x1  # include/uapi/linux/if.h

_ATTRIBUTE_SIZE_MAX = 1 << 16

_VIRTFN = re.compile(r"virtfn([0-9]+)")

# What read() of an attribute answers when the object cannot say (a link that is down has no carrier: EINVAL), or went away.
_UNREADABLE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)


class Sysfs:
    """The sysfs mounted at `root`; every question reads anew, nothing is remembered.

    Args:
        root: where sysfs is mounted; another folder of the same shape in tests (``DPUKIT_SYSFS``).
    """

    def __init__(self, root: Path = DEFAULT_ROOT) -> None:
        self.root = root
        self._functions = root / "bus/pci/devices"
        self._netdevs = root / "class/net"

    # -- functions -----------------------------------------------------------------------------------------------------

    def read_pfs(self) -> tuple[Pf, ...]:
        """Read every function that can have VFs, in the order of their addresses.

        `Pf.eswitch_mode` is None: devlink says that, not sysfs.
        """
        found = (self.find_pf(address) for address in sorted(self._addresses()))
        return tuple(pf for pf in found if pf is not None)

    def find_pf(self, address: PciAddress) -> Pf | None:
        """Return the PF at `address`; None when there is no function, or one that cannot have VFs."""
        folder = self._folder(address)
        total = _number(folder / "sriov_totalvfs")
        if total is None:
            return None
        netdev = self.find_pf_netdev(address)
        net = self._netdevs / netdev if netdev else folder / "net" / "-"
        numa = _number(folder / "numa_node")
        mac = _read(net / "address")
        return Pf(
            address=address,
            netdev=netdev,
            driver=self.find_driver(address),
            vendor=(_read(folder / "vendor") or "").removeprefix("0x"),
            device=(_read(folder / "device") or "").removeprefix("0x"),
            numa_node=numa if numa is not None and numa >= 0 else None,
            mac=MacAddress.parse(mac) if mac else None,
            mtu=_number(net / "mtu"),
            carrier={"0": False, "1": True}.get(_read(net / "carrier") or ""),
            eswitch_mode=None,
            num_vfs=_number(folder / "sriov_numvfs") or 0,
            total_vfs=total,
            vfs=self.read_vfs(address),
            vf_device=_vf_device(folder),
            vf_autoprobe=_number(folder / "sriov_drivers_autoprobe") != 0,
        )

    def read_vfs(self, pf: PciAddress) -> tuple[Vf, ...]:
        """Read the VFs of the PF at `pf`, by index; empty when it has none."""
        found = []
        for name in _listing(self._folder(pf)):
            match = _VIRTFN.fullmatch(name)
            address = _target(self._folder(pf) / name) if match else None
            if match and address:
                function = PciAddress.parse(address)
                found.append(Vf(function, int(match[1]), self.find_driver(function), self.find_netdev(function)))
        return tuple(sorted(found, key=lambda vf: vf.index))

    def read_vf(self, address: PciAddress) -> tuple[PciAddress, Vf]:
        """Read the VF at `address`. Returns its PF's address and the VF.

        Raises:
            NotFoundError: there is no function at `address`.
            InputError: the function there is no VF.
        """
        if not self._folder(address).exists():
            raise NotFoundError(
                f"VF {address}",
                "there is no such PCI function",
                hint="the device plugin's list and this host differ: were the VFs removed or recreated?",
            )
        parent = _target(self._folder(address) / "physfn")
        if parent is None:
            raise InputError(
                f"VF {address}",
                "this PCI function is not a VF (it has no physfn)",
                hint="give the address of a VF, not of a PF",
            )
        pf = PciAddress.parse(parent)
        index = self._find_vf_index(pf, address)
        if index is None:
            raise NotFoundError(
                f"VF {address}", f"its PF {pf} does not list it", hint="the VFs are being recreated: try again"
            )
        return pf, Vf(address, index, self.find_driver(address), self.find_netdev(address))

    def _find_vf_index(self, pf: PciAddress, vf: PciAddress) -> int | None:
        folder = self._folder(pf)
        offset, stride = _number(folder / "sriov_offset"), _number(folder / "sriov_stride")
        if offset is not None:
            # Computed, as the kernel does it (pci_iov_virtfn_devfn), then made sure: a PF may have hundreds of VFs.
            computed = (vf.routing_id - pf.routing_id - offset) // (stride or 1)
            if _target(folder / f"virtfn{computed}") == str(vf):
                return computed
        found = (_VIRTFN.fullmatch(name) for name in _listing(folder))
        return next((int(match[1]) for match in found if match and _target(folder / match[0]) == str(vf)), None)

    def find_driver(self, address: PciAddress) -> str | None:
        """Return the name of the driver bound to the function, None when there is none."""
        return _target(self._folder(address) / "driver")

    def find_netdev(self, address: PciAddress) -> str | None:
        """Return the function's network device in this namespace, None when it has none here."""
        names = sorted(_listing(self._folder(address) / "net"))
        return names[0] if names else None

    def find_rdma_device(self, address: PciAddress) -> str | None:
        """Return the function's RDMA device in this namespace, None when it has none here."""
        names = sorted(_listing(self._folder(address) / "infiniband"))
        return names[0] if names else None

    def find_pf_netdev(self, address: PciAddress) -> str | None:
        """Return the PF's own network device.

        In switchdev mode the representors stand in the same folder (since Linux 5.8): the PF's own is the one whose
        ``phys_port_name`` is an uplink's, or that has none.
        """
        names = sorted(_listing(self._folder(address) / "net"))
        own = [name for name in names if self._is_uplink(name)]
        return next(iter(own or names), None)

    def _is_uplink(self, netdev: str) -> bool:
        text = _read(self._netdevs / netdev / "phys_port_name")
        if not text:
            return True
        name = PortName.parse(text)
        return name is not None and name.flavour is Flavour.PHYSICAL

    def write_num_vfs(self, pf: PciAddress, count: int) -> None:
        """Have the PF's driver create `count` VFs, or remove them all (0).

        The kernel takes a change from 0 or to 0 only (drivers/pci/iov.c, ``sriov_numvfs_store``). Returns when the
        driver has finished; the VFs' own drivers may still be probing.

        Raises:
            KernelError: the driver refused.
        """
        try:
            (self._folder(pf) / "sriov_numvfs").write_text(f"{count}\n", encoding="ascii")
        except OSError as error:
            raise KernelError.from_oserror(
                error,
                subject=f"PF {pf}",
                operation=f"write {count} to sriov_numvfs",
                hint=_NUM_VFS_HINTS.get(error.errno or 0, ""),
            ) from error

    def write_vf_autoprobe(self, pf: PciAddress, number: int) -> None:
        """Have the kernel give the PF's VFs a driver from now on (1), or none (0).

        Raises:
            KernelError: there is no such PF.
        """
        path = self._folder(pf) / "sriov_drivers_autoprobe"
        self._write(path, str(number), subject=f"PF {pf}", operation=f"write {number} to {path.name}")

    def write_probe(self, address: PciAddress) -> None:
        """Let the kernel look for a driver for the function; which one, it tells by itself (`find_driver`).

        Raises:
            KernelError: the kernel has no such function, or its driver failed.
        """
        path = self.root / "bus/pci/drivers_probe"
        self._write(path, str(address), subject=f"function {address}", operation="look for its driver")

    # -- network devices of this namespace -----------------------------------------------------------------------------

    def find_netdev_state(self, netdev: str) -> NetdevState | None:
        """Return MTU, admin state and carrier of `netdev`; None when it is not in this namespace (any more)."""
        folder = self._netdevs / netdev
        mtu, flags = _number(folder / "mtu"), _read(folder / "flags")
        if mtu is None or not flags:
            return None
        carrier = {"0": False, "1": True}.get(_read(folder / "carrier") or "")
        return NetdevState(netdev, mtu, bool(int(flags, 16) & _IFF_UP), carrier)

    def write_mtu(self, netdev: str, mtu: int) -> None:
        """Set the MTU of `netdev`, in octets.

        Raises:
            KernelError: the driver refused.
        """
        self._write(self._netdevs / netdev / "mtu", str(mtu), subject=netdev, operation=f"set MTU {mtu}")

    def write_up(self, netdev: str) -> None:
        """Set `netdev` administratively up (net/core/net-sysfs.c, ``flags``).

        Raises:
            KernelError: the driver refused.
        """
        path = self._netdevs / netdev / "flags"
        flags = int(_read(path) or "0", 16) | _IFF_UP
        self._write(path, hex(flags), subject=netdev, operation="set it up")

    @staticmethod
    def _write(path: Path, text: str, *, subject: str, operation: str) -> None:
        try:
            path.write_text(f"{text}\n", encoding="ascii")
        except OSError as error:
            raise KernelError.from_oserror(error, subject=subject, operation=operation) from error

    # -- the switch's side ---------------------------------------------------------------------------------------------

    def read_switch_ports(self) -> tuple[SwitchPort, ...]:
        """Read every network device here that is a port of an eswitch."""
        return tuple(self._switch_ports())

    def _switch_ports(self) -> Iterator[SwitchPort]:
        for netdev in sorted(_listing(self._netdevs)):
            folder = self._netdevs / netdev
            switch_id, text, ifindex = (
                _read(folder / "phys_switch_id"),
                _read(folder / "phys_port_name"),
                _number(folder / "ifindex"),
            )
            name = PortName.parse(text) if text else None
            if switch_id and name and ifindex:
                yield SwitchPort(switch_id, name, netdev, ifindex)

    def _addresses(self) -> Iterator[PciAddress]:
        for name in _listing(self._functions):
            yield PciAddress.parse(name)

    def _folder(self, address: PciAddress) -> Path:
        return self._functions / str(address)


_NUM_VFS_HINTS = {
    errno.ENOMEM: "the firmware left no room for VF memory: boot with pci=realloc, or enable SR-IOV in the firmware",
    errno.EBUSY: "VFs exist already and must be removed first (0)",
    errno.ERANGE: "more than the device or its driver offers (sriov_totalvfs)",
    errno.EACCES: "run as root",
    errno.EROFS: "mount /sys read-write in this container",
}


def _read(path: Path) -> str | None:
    try:
        # An attribute is one page at most, and read in one piece (fs/sysfs/file.c).
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _ATTRIBUTE_SIZE_MAX).decode("ascii", "replace").strip()
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _UNREADABLE:
            return None
        raise KernelError.from_oserror(error, subject=str(path), operation="read it") from error


def _vf_device(folder: Path) -> str:
    # The kernel writes it without leading zeros (drivers/pci/iov.c, sriov_vf_device_show).
    text = _read(folder / "sriov_vf_device")
    return text.zfill(4) if text else ""


def _number(path: Path) -> int | None:
    text = _read(path)
    try:
        return int(text) if text else None
    except ValueError:
        return None


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        if error.errno in _UNREADABLE:
            return []
        raise KernelError.from_oserror(error, subject=str(folder), operation="list it") from error


def _target(link: Path) -> str | None:
    try:
        return Path(os.readlink(link)).name
    except OSError as error:
        if error.errno in _UNREADABLE:
            return None
        raise KernelError.from_oserror(error, subject=str(link), operation="follow it") from error
