"""Decide what has to be done to a PF so that it is as desired; nothing when it already is. Pure.

A plan has steps in their order, each with its reason, or it is refused, with the error that says why. Refused is: what
would take a VF away from a pod, what somebody else manages, what this version cannot do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deviceplugin.model import NETDEV_LESS_DRIVERS, HostPf, HostVf
from deviceplugin.provision.desired import DesiredPf
from sriov.errors import BusyError, DpuError, NotFoundError, UnsupportedError, VerifyError
from sriov.model import PciAddress


@dataclass(frozen=True, slots=True)
class RemoveVfs:
    """Remove every VF of the PF."""

    pf: PciAddress
    reason: str

    def __str__(self) -> str:
        return "remove all VFs"


@dataclass(frozen=True, slots=True)
class CreateVfs:
    """Create the VFs of a PF that has none; done when each has its driver and its network device."""

    pf: PciAddress
    count: int
    reason: str

    def __str__(self) -> str:
        return f"create {self.count} VFs"


@dataclass(frozen=True, slots=True)
class SetAutoprobe:
    """Have the kernel give the PF's VFs a driver, or none."""

    pf: PciAddress
    number: int
    reason: str

    def __str__(self) -> str:
        return f"set sriov_drivers_autoprobe {self.number}"


@dataclass(frozen=True, slots=True)
class BindVf:
    """Let the kernel choose a driver for a VF without one."""

    pf: PciAddress
    vf: PciAddress
    reason: str

    def __str__(self) -> str:
        return f"bind a driver to VF {self.vf}"


@dataclass(frozen=True, slots=True)
class SetPfMtu:
    """Set the MTU of the PF's network device, in octets."""

    pf: PciAddress
    netdev: str
    mtu: int
    reason: str

    def __str__(self) -> str:
        return f"set MTU {self.mtu} on {self.netdev}"


@dataclass(frozen=True, slots=True)
class SetPfUp:
    """Set the PF's network device up, without which its VFs have no link."""

    pf: PciAddress
    netdev: str
    reason: str

    def __str__(self) -> str:
        return f"set {self.netdev} up"


@dataclass(frozen=True, slots=True)
class SetVfMtu:
    """Set the MTU of a VF's network device, in octets; the VF may be one that an earlier step creates."""

    pf: PciAddress
    index: int
    mtu: int
    reason: str

    def __str__(self) -> str:
        return f"set MTU {self.mtu} on VF {self.index}"


Step = RemoveVfs | CreateVfs | SetAutoprobe | BindVf | SetPfMtu | SetPfUp | SetVfMtu


@dataclass(frozen=True, slots=True)
class PfPlan:
    """What has to be done to one PF, or why it is not; neither when it is as desired."""

    pf: HostPf
    steps: tuple[Step, ...]
    refusal: DpuError | None = None


def find_in_use(pf: HostPf, attached: Mapping[PciAddress, str]) -> Mapping[PciAddress, str]:
    """Return which VFs of `pf` are in use, and by whom.

    Args:
        pf: the PF as observed.
        attached: VFs with an attachment record, and what the record says of their user.
    """
    found = {vf.function.address: "its network device is in another namespace" for vf in pf.vfs if vf.is_away}
    for vf in pf.vfs:
        if vf.function.address in attached:
            found[vf.function.address] = attached[vf.function.address]
    return found


def plan_pf(desired: DesiredPf, pf: HostPf, in_use: Mapping[PciAddress, str]) -> PfPlan:
    """Return what brings `pf` to what is desired."""
    refusal = _refuse(desired, pf, in_use)
    if refusal:
        return PfPlan(pf, (), refusal)
    if desired.externally_managed:
        return PfPlan(pf, ())
    return PfPlan(pf, tuple(_steps(desired, pf, in_use)))


def _refuse(desired: DesiredPf, pf: HostPf, in_use: Mapping[PciAddress, str]) -> DpuError | None:
    function = pf.function
    mode = function.eswitch_mode or "legacy"
    if desired.eswitch_mode not in {None, mode}:
        return UnsupportedError(
            f"PF {pf}",
            f"its eswitch is in mode {mode}, {desired.because} wants {desired.eswitch_mode}",
            hint="dpukit does not change the mode yet: set it with devlink dev eswitch set",
        )
    if pf.state is None and desired.mtu is not None:
        return NotFoundError(
            f"PF {pf}", "has no network device in this namespace, its MTU cannot be set", hint="is its driver bound?"
        )
    if desired.externally_managed:
        return _verify_external(desired, pf)
    if function.num_vfs != desired.num_vfs and in_use:
        address, user = next(iter(sorted(in_use.items())))
        return BusyError(
            f"PF {pf}",
            f"its {function.num_vfs} VFs would have to be removed to make {desired.num_vfs}, and {len(in_use)} of them "
            f"are in use; VF {address}: {user}",
            hint="drain the pods that have them first",
        )
    foreign = [vf.function for vf in pf.vfs if vf.function.driver in NETDEV_LESS_DRIVERS]
    if foreign and function.num_vfs == desired.num_vfs and not desired.is_exact:
        return UnsupportedError(
            f"PF {pf}",
            f"VF {foreign[0].address} has the driver {foreign[0].driver}, {desired.because} wants a network device",
            hint="dpukit does not change drivers yet: unbind it by hand",
        )
    return None


def _verify_external(desired: DesiredPf, pf: HostPf) -> DpuError | None:
    hint = "the policy says externallyManaged: whoever creates the VFs must change it"
    if pf.function.num_vfs < desired.num_vfs:
        what = f"has {pf.function.num_vfs} VFs, {desired.because} wants at least {desired.num_vfs}"
        return VerifyError(f"PF {pf}", what, hint=hint)
    if desired.mtu is not None and pf.state is not None and pf.state.mtu < desired.mtu:
        what = f"has MTU {pf.state.mtu}, {desired.because} wants at least {desired.mtu}"
        return VerifyError(f"PF {pf}", what, hint=hint)
    return None


def _steps(desired: DesiredPf, pf: HostPf, in_use: Mapping[PciAddress, str]) -> Iterator[Step]:
    # The MTU before the VFs: many drivers reset the NIC to change it, and so would take the new VFs' link.
    yield from _set_pf_mtu(desired, pf)
    if pf.function.num_vfs == desired.num_vfs:
        yield from _set_autoprobe(desired, pf, needed=desired.vf_autoprobe and (desired.is_exact or _lacks_driver(pf)))
        yield from _set_up(desired, pf)
        yield from _tend_vfs(desired, pf, in_use)
    else:
        yield from _remake_vfs(desired, pf)
    if desired.is_exact and not desired.vf_autoprobe:
        reason = f"{desired.because} had it so"
        if pf.function.vf_autoprobe or (desired.num_vfs and pf.function.num_vfs != desired.num_vfs):
            yield SetAutoprobe(pf.address, 0, reason)


def _set_pf_mtu(desired: DesiredPf, pf: HostPf) -> Iterator[Step]:
    state, wanted = pf.state, desired.mtu
    if state and wanted is not None and state.mtu != wanted and (desired.is_exact or state.mtu < wanted):
        yield SetPfMtu(pf.address, state.name, wanted, f"{desired.because} wants {wanted}, it has {state.mtu}")


def _set_up(desired: DesiredPf, pf: HostPf) -> Iterator[Step]:
    if pf.state and not pf.state.up and desired.num_vfs and not desired.is_exact:
        yield SetPfUp(pf.address, pf.state.name, "VFs have no link while their PF is down")


def _set_autoprobe(desired: DesiredPf, pf: HostPf, *, needed: bool) -> Iterator[Step]:
    if needed and not pf.function.vf_autoprobe and desired.num_vfs:
        yield SetAutoprobe(pf.address, 1, "else no VF gets a driver")


def _remake_vfs(desired: DesiredPf, pf: HostPf) -> Iterator[Step]:
    reason = f"{desired.because} wants numVfs {desired.num_vfs}, the PF has {pf.function.num_vfs}"
    if pf.function.num_vfs:
        # The kernel changes the number from 0 or to 0 only.
        yield RemoveVfs(pf.address, reason)
    yield from _set_autoprobe(desired, pf, needed=True)
    if desired.num_vfs:
        yield CreateVfs(pf.address, desired.num_vfs, reason)
    yield from _set_up(desired, pf)
    for index in range(desired.num_vfs):
        yield from _set_vf_mtu(desired, pf, index, None)


def _lacks_driver(pf: HostPf) -> bool:
    return any(vf.function.driver is None for vf in pf.vfs)


def _tend_vfs(desired: DesiredPf, pf: HostPf, in_use: Mapping[PciAddress, str]) -> Iterator[Step]:
    for vf in pf.vfs:
        if vf.function.address in in_use:
            continue
        if vf.function.driver is None and desired.vf_autoprobe:
            yield BindVf(pf.address, vf.function.address, "no driver is bound")
        yield from _set_vf_mtu(desired, pf, vf.function.index, vf)


def _set_vf_mtu(desired: DesiredPf, pf: HostPf, index: int, vf: HostVf | None) -> Iterator[Step]:
    wanted = desired.find_vf_mtu(index)
    found = vf.state.mtu if vf and vf.state else None
    if wanted is not None and wanted != found:
        reason = f"{desired.because} wants {wanted}" + (f", it has {found}" if found else "")
        yield SetVfMtu(pf.address, index, wanted, reason)
