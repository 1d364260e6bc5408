"""Look at this host's PFs and VFs; changes nothing, remembers nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from deviceplugin.model import HostPf, HostVf
from sriov.model import NetdevState, Pf


class Functions(Protocol):
    """What is asked of sysfs here."""

    def read_pfs(self) -> tuple[Pf, ...]:
        """Read every PF with its VFs."""

    def find_netdev_state(self, netdev: str) -> NetdevState | None:
        """Return a network device's settings, None when it is not here."""


class Eswitches(Protocol):
    """What is asked of devlink here."""

    def read_eswitch_modes(self) -> Mapping[str, str]:
        """Read the mode of every eswitch, by devlink handle (``pci/0000:01:00.0``)."""


def read_pfs(functions: Functions, eswitches: Eswitches | None) -> tuple[Pf, ...]:
    """Read every PF, with its eswitch mode where its driver has an eswitch.

    Args:
        functions: sysfs.
        eswitches: devlink; None leaves the modes unknown.

    Raises:
        KernelError: sysfs or devlink cannot be read.
    """
    modes = eswitches.read_eswitch_modes() if eswitches else {}
    return tuple(replace(pf, eswitch_mode=modes.get(f"pci/{pf.address}")) for pf in functions.read_pfs())


def read_host(functions: Functions, eswitches: Eswitches | None) -> tuple[HostPf, ...]:
    """Read every PF and VF with the state of their network devices.

    Raises:
        KernelError: sysfs or devlink cannot be read.
    """

    def state(netdev: str | None) -> NetdevState | None:
        return functions.find_netdev_state(netdev) if netdev else None

    return tuple(
        HostPf(pf, state(pf.netdev), tuple(HostVf(vf, state(vf.netdev)) for vf in pf.vfs))
        for pf in read_pfs(functions, eswitches)
    )
