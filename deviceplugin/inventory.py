"""Sort the VFs of this host into pools, and say which of them may be used. Pure.

The first pool of the configuration that matches a VF has it; a VF is in one pool only. A VF that the inventory knows
stays where it is when it merely lost its driver, or is gone: then it is unhealthy, with the reason, so that the kubelet
hears of it. A VF that stays away for `FORGET_AFTER_S` is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from deviceplugin.config import Pool
from sriov.model import PciAddress, Pf, Vf

FORGET_AFTER_S = 60.0
"""Long enough to outlast a reset of the NIC; short enough that removed VFs do not stay in the node's capacity."""


@dataclass(frozen=True, slots=True)
class Device:
    """A VF as the kubelet knows it: by its PCI address, whichever namespace its network device is in.

    `unhealthy` says why no pod may have it; empty when one may. `gone_at` is when it was missed, on the caller's clock.
    """

    address: PciAddress
    index: int
    pf: PciAddress
    numa_node: int | None
    unhealthy: str = ""
    gone_at: float | None = None

    @property
    def id(self) -> str:
        """The kubelet's device id."""
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The devices of each pool, by the pool's resource name, in the order of their addresses."""

    pools: Mapping[str, tuple[Device, ...]] = field(default_factory=dict)

    def find_pool_of(self, address: PciAddress) -> str | None:
        """Return the resource name of the pool that has the VF, None when none has."""
        return next((name for name, devices in self.pools.items() if any(d.address == address for d in devices)), None)


def sort_into_pools(pfs: Iterable[Pf], pools: Iterable[Pool], *, known: Inventory, now: float) -> Inventory:
    """Make the inventory of what is there now.

    Args:
        pfs: what was observed.
        pools: the configuration's, in its order.
        known: the inventory before this one; an empty one at start.
        now: a monotonic clock's time, in seconds.
    """
    pools = tuple(pools)
    found: dict[str, list[Device]] = {pool.resource: [] for pool in pools}
    homes = {device.address: name for name, devices in known.pools.items() for device in devices}
    present: set[PciAddress] = set()
    for pf in pfs:
        for vf in pf.vfs:
            present.add(vf.address)
            pool, reason = _place(pf, vf, pools, home=homes.get(vf.address))
            if pool is not None:
                found[pool.resource].append(Device(vf.address, vf.index, pf.address, pf.numa_node, reason))
    for name, devices in known.pools.items():
        if name in found:
            found[name] += _still_missed((d for d in devices if d.address not in present), now=now)
    return Inventory({name: tuple(sorted(devices, key=lambda d: d.address)) for name, devices in found.items()})


def _place(pf: Pf, vf: Vf, pools: tuple[Pool, ...], *, home: str | None) -> tuple[Pool | None, str]:
    """Choose the pool of a VF and say what is wrong with the VF there."""
    for pool in pools:
        if not pool.selectors or any(selector.matches(pf, vf) for selector in pool.selectors):
            return pool, "" if vf.driver else "no driver is bound"
    for pool in pools:
        if pool.resource == home and any(selector.matches_but_driver(pf, vf) for selector in pool.selectors):
            return pool, _wrong_driver(pf, vf, pool)
    return None, ""


def _wrong_driver(pf: Pf, vf: Vf, pool: Pool) -> str:
    wanted = sorted({d for s in pool.selectors if s.matches_but_driver(pf, vf) for d in s.drivers})
    is_bound = f"driver {vf.driver} is bound" if vf.driver else "no driver is bound"
    return f"{is_bound}, the pool wants {' or '.join(wanted)}"


def _still_missed(devices: Iterable[Device], *, now: float) -> Iterable[Device]:
    for device in devices:
        since = now if device.gone_at is None else device.gone_at
        if now - since < FORGET_AFTER_S:
            yield replace(device, unhealthy="the VF is gone", gone_at=since)
