"""What this package says about PFs and VFs beyond what `sriov.model` does. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sriov.model import NetdevState, PciAddress, Pf, Vf

NETDEV_LESS_DRIVERS = frozenset({"vfio-pci", "uio_pci_generic", "igb_uio", "pci-stub", "xen-pciback"})
"""Drivers that give a function to a user-space program or a guest: a VF bound to one has no network device anywhere."""


@dataclass(frozen=True, slots=True)
class HostVf:
    """A VF with the state of its network device, None when it has none in this namespace."""

    function: Vf
    state: NetdevState | None

    @property
    def is_away(self) -> bool:
        """Whether its network device exists, but in another namespace: some pod has it."""
        driver = self.function.driver
        return driver is not None and driver not in NETDEV_LESS_DRIVERS and self.function.netdev is None


@dataclass(frozen=True, slots=True)
class HostPf:
    """A PF with the state of its network device, and its VFs with theirs."""

    function: Pf
    state: NetdevState | None
    vfs: tuple[HostVf, ...]

    @property
    def address(self) -> PciAddress:
        """Its PCI address, which is its identity."""
        return self.function.address

    def __str__(self) -> str:
        """Name it as people look for it: ``0000:3b:00.0 (ens1f0)``."""
        return f"{self.address} ({self.function.netdev})" if self.function.netdev else str(self.address)
