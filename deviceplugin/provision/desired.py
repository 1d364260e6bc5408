"""What the policies together want of each PF of this host. Pure.

Policies for different VFs of one PF (``pfNames: [ens1f0#0-3]``) go together: the PF gets the greatest numVfs and MTU of
them. Of policies that claim the same VF, the one with the smaller priority number holds and the other is without effect
on that PF; with the same number that is a conflict, unless they want the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deviceplugin.provision.policy import Policy
from deviceplugin.selector import PfPart
from sriov.document import Faults
from sriov.model import PciAddress, Pf


@dataclass(frozen=True, slots=True)
class VfGroup:
    """VFs of a PF that one policy is for; `mtu` in octets, None leaves it as it is."""

    policy: str
    resource: str
    indexes: tuple[int, ...]
    mtu: int | None


@dataclass(frozen=True, slots=True)
class DesiredPf:
    """What is wanted of one PF.

    `mtu` is the least its network device must have, in octets; exactly that when `is_exact` (a restored state).
    `vf_autoprobe` counts in a restored state only; a policy wants its VFs to have drivers.
    """

    address: PciAddress
    num_vfs: int
    mtu: int | None
    eswitch_mode: str | None
    externally_managed: bool
    groups: tuple[VfGroup, ...]
    because: str
    is_exact: bool = False
    vf_autoprobe: bool = True

    @classmethod
    def restoring(cls, address: PciAddress, *, num_vfs: int, mtu: int | None, vf_autoprobe: bool = True) -> DesiredPf:
        """Make the desired state of a PF that is to be as it was before; `mtu` in octets."""
        return cls(
            address=address,
            num_vfs=num_vfs,
            mtu=mtu,
            eswitch_mode=None,
            externally_managed=False,
            groups=(),
            because="the state before dpukit",
            is_exact=True,
            vf_autoprobe=vf_autoprobe,
        )

    def find_vf_mtu(self, index: int) -> int | None:
        """Return the MTU wanted for a VF, None when no policy says."""
        return next((group.mtu for group in self.groups if index in group.indexes), None)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A policy on one PF, and the VFs it claims there."""

    policy: Policy
    indexes: frozenset[int]

    @classmethod
    def make(cls, policy: Policy, part: PfPart) -> _Claim:
        return cls(policy, frozenset(index for index in range(policy.num_vfs) if part.takes(index)))

    def meets(self, other: _Claim) -> bool:
        """Whether both claim a VF; a policy for no VF at all is about the PF, as all others are."""
        return not self.indexes or not other.indexes or bool(self.indexes & other.indexes)

    def wants(self) -> tuple[object, ...]:
        policy = self.policy
        return policy.num_vfs, policy.mtu, policy.eswitch_mode, policy.externally_managed, policy.resource


def merge_policies(policies: Sequence[Policy], pfs: Iterable[Pf]) -> tuple[DesiredPf, ...]:
    """Make the desired state of every PF that a policy selects, in the order of their addresses.

    Raises:
        InputError: a policy selects no PF, wants more than a PF has, or contradicts another; the text names every fault.
    """
    pfs = sorted(pfs, key=lambda pf: pf.address)
    faults = Faults()
    for policy in policies:
        if not any(policy.selector.find_part(pf) for pf in pfs):
            seen = ", ".join(_name(pf) for pf in pfs) or "none that can have VFs"
            faults.add(
                policy.at("nicSelector"),
                f"no PF of this host fits {policy.selector}",
                hint=f"correct the selector; PFs here: {seen}",
            )
    desired = []
    for pf in pfs:
        claims = [_Claim.make(p, part) for p in policies if (part := p.selector.find_part(pf))]
        if claims:
            desired.append(_merge(pf, _settle(pf, claims, faults), faults))
    faults.raise_if_any()
    return tuple(desired)


def _name(pf: Pf) -> str:
    return f"{pf.address} ({pf.netdev}, {pf.vendor}:{pf.device})"


def _settle(pf: Pf, claims: list[_Claim], faults: Faults) -> list[_Claim]:
    """Keep the claims that hold; note contradictions."""
    kept: list[_Claim] = []
    for claim in sorted(claims, key=lambda claim: claim.policy.priority):
        stronger = [other for other in kept if other.meets(claim)]
        for other in stronger:
            if other.policy.priority == claim.policy.priority and other.wants() != claim.wants():
                faults.add(
                    claim.policy.at("nicSelector"),
                    f"contradicts policy {other.policy.name} about VFs of PF {_name(pf)}, at the same priority",
                    hint=_say_difference(claim.policy, other.policy),
                )
        if not stronger:
            kept.append(claim)
    return kept


def _say_difference(one: Policy, other: Policy) -> str:
    pairs = {
        "numVfs": (one.num_vfs, other.num_vfs),
        "mtu": (one.mtu, other.mtu),
        "eSwitchMode": (one.eswitch_mode, other.eswitch_mode),
        "externallyManaged": (one.externally_managed, other.externally_managed),
        "resourceName": (one.resource, other.resource),
    }
    said = ", ".join(f"{key} {mine} and {theirs}" for key, (mine, theirs) in pairs.items() if mine != theirs)
    return f"{said}: give one a smaller priority, or give them different VFs (pfNames: [pf#0-3])"


def _merge(pf: Pf, claims: Sequence[_Claim], faults: Faults) -> DesiredPf:
    policies = [claim.policy for claim in claims]
    for policy in policies:
        if policy.num_vfs > pf.total_vfs:
            faults.add(
                policy.at("numVfs"),
                f"{policy.num_vfs} is more than the {pf.total_vfs} VFs PF {_name(pf)} can have (sriov_totalvfs)",
                hint=f"write {pf.total_vfs} or less, or raise the limit in the NIC's firmware",
            )
    for field, values in (
        ("externallyManaged", {policy.externally_managed for policy in policies}),
        ("eSwitchMode", {policy.eswitch_mode for policy in policies} - {None}),
    ):
        if len(values) > 1:
            names = " and ".join(policy.name for policy in policies)
            faults.add(policies[-1].at(field), f"policies {names} differ in it for PF {_name(pf)}", hint="make it one")
    return DesiredPf(
        address=pf.address,
        num_vfs=max(policy.num_vfs for policy in policies),
        mtu=max((policy.mtu for policy in policies if policy.mtu), default=None),
        eswitch_mode=next((policy.eswitch_mode for policy in policies if policy.eswitch_mode), None),
        externally_managed=any(policy.externally_managed for policy in policies),
        groups=tuple(
            VfGroup(claim.policy.name, claim.policy.resource, tuple(sorted(claim.indexes)), claim.policy.mtu)
            for claim in claims
        ),
        because=f"policy {', '.join(policy.name for policy in policies)}",
    )
