"""Do the steps of a plan, and read back whether the PF then is as desired.

There is no undo: removed VFs cannot come back as they were, and the next run goes on from what it finds. The state
before the first change is on record (`record`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, assert_never

from deviceplugin.model import HostPf
from deviceplugin.observe import Eswitches, read_host
from deviceplugin.provision.desired import DesiredPf
from deviceplugin.provision.plan import (
    BindVf,
    CreateVfs,
    PfPlan,
    RemoveVfs,
    SetAutoprobe,
    SetPfMtu,
    SetPfUp,
    SetVfMtu,
    Step,
    find_in_use,
    plan_pf,
)
from sriov.errors import DpuError, NotFoundError, VerifyError
from sriov.log import fields
from sriov.model import NetdevState, PciAddress, Pf, Vf

logger = logging.getLogger(__name__)

POLL_S = 0.05
"""Uevents would tell too, but each VF makes a dozen; a few cheap looks at sysfs while it settles are simpler."""

PROBE_AFTER_S = 5.0
SETTLE_S = 30.0
"""igb and mlx5 VFs are there in under 5 s; udev may first have to load the VF driver's module."""


class Kernel(Protocol):
    """What is asked of and written to sysfs here."""

    def read_pfs(self) -> tuple[Pf, ...]:
        """Read every PF with its VFs."""

    def read_vfs(self, pf: PciAddress) -> tuple[Vf, ...]:
        """Read the VFs of a PF."""

    def find_netdev_state(self, netdev: str) -> NetdevState | None:
        """Return a network device's settings."""

    def write_num_vfs(self, pf: PciAddress, count: int) -> None:
        """Create or remove VFs."""

    def write_vf_autoprobe(self, pf: PciAddress, number: int) -> None:
        """Have VFs given a driver, or none."""

    def write_probe(self, address: PciAddress) -> None:
        """Let the kernel look for a driver."""

    def write_mtu(self, netdev: str, mtu: int) -> None:
        """Set an MTU."""

    def write_up(self, netdev: str) -> None:
        """Set a network device up."""


class Memory(Protocol):
    """What is remembered here."""

    def remember(self, pf: HostPf) -> None:
        """Record how a PF was found."""

    def hold(self, vfs: Iterable[PciAddress]) -> AbstractContextManager[None]:
        """Keep VFs from being given to pods."""

    def read_attached(self) -> Mapping[PciAddress, str]:
        """Read which VFs pods have."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one PF: the steps that were done, and the error that stopped it, if one did."""

    pf: HostPf
    done: tuple[Step, ...]
    error: DpuError | None = None


class Provisioner:
    """Brings PFs to what is desired of them; the caller holds the lock.

    Args:
        kernel: sysfs.
        eswitches: devlink; None where eswitch modes do not matter.
        memory: the records.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        eswitches: Eswitches | None,
        memory: Memory,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._kernel = kernel
        self._eswitches = eswitches
        self._memory = memory
        self._sleep = sleep

    def observe(self) -> tuple[HostPf, ...]:
        """Look at every PF.

        Raises:
            KernelError: sysfs or devlink cannot be read.
        """
        return read_host(self._kernel, self._eswitches)

    def plan(self, desired: Sequence[DesiredPf]) -> tuple[PfPlan, ...]:
        """Plan every PF that something is desired of; one that is not on this host has no plan.

        Raises:
            InputError: an attachment record is damaged.
            KernelError: sysfs or devlink cannot be read.
        """
        attached = self._memory.read_attached()
        pfs = {pf.address: pf for pf in self.observe()}
        wanted = ((want, pfs[want.address]) for want in desired if want.address in pfs)
        return tuple(plan_pf(want, pf, find_in_use(pf, attached)) for want, pf in wanted)

    def apply(self, desired: Sequence[DesiredPf]) -> tuple[Outcome, ...]:
        """Bring every PF to what is desired; one that fails does not stop the others.

        Raises:
            InputError: an attachment record is damaged.
            KernelError: sysfs or devlink cannot be read.
        """
        wants = {want.address: want for want in desired}
        return tuple(self._apply_pf(plan, wants[plan.pf.address]) for plan in self.plan(desired))

    def _plan_one(self, desired: DesiredPf) -> PfPlan:
        for plan in self.plan([desired]):
            return plan
        raise NotFoundError(
            f"PF {desired.address}", "is no more on this host", hint="did its driver lose it? see dmesg"
        )

    def _apply_pf(self, plan: PfPlan, desired: DesiredPf) -> Outcome:
        if plan.refusal or not plan.steps:
            return Outcome(plan.pf, (), plan.refusal)
        done: list[Step] = []
        try:
            doomed = plan.pf.vfs if any(isinstance(step, RemoveVfs) for step in plan.steps) else ()
            with self._memory.hold(vf.function.address for vf in doomed):
                # Until they were held, a pod may have been given one.
                self._do_all(self._plan_one(desired), done)
            self._verify(desired)
        except DpuError as error:
            return Outcome(plan.pf, tuple(done), error)
        return Outcome(plan.pf, tuple(done))

    def _do_all(self, plan: PfPlan, done: list[Step]) -> None:
        if plan.refusal:
            raise plan.refusal
        self._memory.remember(plan.pf)
        for step in plan.steps:
            self._do(step)
            done.append(step)
            logger.debug("%s", step, extra=fields(pf=plan.pf, reason=step.reason))

    def _verify(self, desired: DesiredPf) -> None:
        plan = self._plan_one(desired)
        if plan.refusal:
            raise plan.refusal
        if plan.steps:
            left = "; ".join(f"{step} ({step.reason})" for step in plan.steps)
            raise VerifyError(
                f"PF {plan.pf}", f"after all steps there is still to do: {left}", hint="does somebody else set it?"
            )

    def _do(self, step: Step) -> None:
        match step:
            case RemoveVfs():
                self._kernel.write_num_vfs(step.pf, 0)
            case CreateVfs():
                self._kernel.write_num_vfs(step.pf, step.count)
                self._settle(step.pf, step.count)
            case SetAutoprobe():
                self._kernel.write_vf_autoprobe(step.pf, step.number)
            case BindVf():
                self._kernel.write_probe(step.vf)
                self._settle(step.pf, len(self._kernel.read_vfs(step.pf)), only=step.vf)
            case SetPfMtu():
                self._kernel.write_mtu(step.netdev, step.mtu)
            case SetPfUp():
                self._kernel.write_up(step.netdev)
            case SetVfMtu():
                self._set_vf_mtu(step)
            case _:
                assert_never(step)

    def _set_vf_mtu(self, step: SetVfMtu) -> None:
        vf = next((vf for vf in self._kernel.read_vfs(step.pf) if vf.index == step.index), None)
        if vf is None or vf.netdev is None:
            raise NotFoundError(f"VF {step.index} of PF {step.pf}", "has no network device, its MTU cannot be set")
        state = self._kernel.find_netdev_state(vf.netdev)
        if state is None or state.mtu != step.mtu:
            self._kernel.write_mtu(vf.netdev, step.mtu)

    def _settle(self, pf: PciAddress, count: int, *, only: PciAddress | None = None) -> None:
        """Wait until `count` VFs (or the one VF) have a driver and a network device.

        Udev may rename a network device once it is there; nothing here depends on its name.
        """
        missing: tuple[Vf, ...] = ()
        for turn in range(int(SETTLE_S / POLL_S)):
            vfs = self._kernel.read_vfs(pf)
            missing = tuple(vf for vf in vfs if vf.netdev is None and only in {None, vf.address})
            if len(vfs) == count and not missing:
                return
            if turn == int(PROBE_AFTER_S / POLL_S):
                # The driver's first attempt failed, as it may while the PF resets.
                for vf in missing:
                    if vf.driver is None:
                        self._kernel.write_probe(vf.address)
            self._sleep(POLL_S)
        raise VerifyError(
            f"PF {pf}",
            f"{SETTLE_S:.0f} s after {count} VFs were asked for, these lack a driver or a network device: "
            f"{', '.join(f'{vf.address} (driver {vf.driver})' for vf in missing) or 'VFs themselves'}",
            hint="is the module of the VFs' driver on this host? modprobe it, and run this again",
        )
