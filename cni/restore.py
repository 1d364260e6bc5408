"""Bring a VF home and make it what it was, from its record; then give up its addresses, then forget.

The one routine of DEL, of a failed ADD, of GC, and of whoever finds what a crash has left. The caller holds the VF's lock.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from cni.apply import apply_attributes, apply_steps
from cni.attachment import Kind, Phase, Record
from cni.elsewhere import find_elsewhere
from cni.ipam import DEADLINE_S, Delegation
from cni.observe import (
    USERSPACE_DRIVERS,
    Workplace,
    await_homecoming,
    find_again,
    find_at_home,
    find_in_pod,
    is_same_netns,
    open_workplace,
    read_attributes,
)
from cni.pace import Pace
from cni.plan import FoundVf, Place, Step, name_refuge, plan_restore
from cni.rdma import bring_back
from cni.record import Records
from cni.request import Request, Verb, find_ipam
from sriov.errors import BusyError, DpuError, InputError, KernelError, NotFoundError, VerifyError
from sriov.kernel import netns as namespaces
from sriov.kernel.sysfs import Sysfs
from sriov.log import fields
from sriov.model import PciAddress

logger = logging.getLogger(__name__)

_ROUNDS = 3
"""How often to look, decide and act until nothing is left to do. One is the rule; drivers and udev may add another."""


@dataclass(frozen=True, slots=True)
class Node:
    """The machine on which calls are performed."""

    sysfs: Sysfs
    records: Records
    boot: str
    """What tells this boot from every other."""
    ipam_deadline_s: float = DEADLINE_S
    """How long a delegated plugin may take."""
    stays: bool = False
    """Whether this process outlives the call, and may finish afterwards what nobody waits for."""
    pace: Pace = field(default_factory=Pace, compare=False)
    """How the call at hand goes: each has its own."""

    @property
    def ipam_left_s(self) -> float:
        """How long a delegated plugin may take from now on, within the call at hand."""
        return self.pace.left(at_most=self.ipam_deadline_s)


def release(record: Record, *, node: Node, netns: int | None, delegation: Delegation | None) -> None:
    """Undo one attachment and forget it; harmless when its VF is somebody else's by now, or when done before.

    Args:
        record: what to undo.
        node: the machine.
        netns: a descriptor of the pod's namespace; None when the caller has none.
        delegation: how to release the addresses; None when there are none.

    Raises:
        DpuError: it could not be done whole; the record stays.
    """
    owner = node.records.find_owner(record.vf)
    if delegation is not None:
        delegation = replace(delegation, lock=node.records.find_lock(record.vf))
    # IPAM is another program, and slow: it works while the VF comes home.
    with _release_addresses(delegation) as wait:
        if owner is not None and owner.attachment == record.attachment:
            if record.boot == node.boot:
                with _pod_netns(record, netns) as descriptor:
                    _restore(record, sysfs=node.sysfs, netns=descriptor)
                node.pace.restored += 1
            node.records.disown(record)
        node.pace.lap("restore")
        wait()
        node.pace.lap("ipam")
    node.records.remove(record)


@contextmanager
def _release_addresses(delegation: Delegation | None) -> Iterator[Callable[[], object]]:
    """Start releasing the addresses; what is given waits for the end, and raises what went wrong, the start included."""
    with ExitStack() as stack:
        wait: Callable[[], object] = _nothing
        if delegation is not None:
            try:
                wait = stack.enter_context(delegation.start(Verb.DEL)).wait
            except DpuError as error:
                wait = functools.partial(_raise, error)
        yield wait


def _nothing() -> None:
    return


def _raise(error: DpuError) -> None:
    raise error


def delegation_of(record: Record, *, deadline_s: float = DEADLINE_S) -> Delegation | None:
    """Return how to release the addresses of an attachment when no runtime asks for it."""
    call = record.call
    if call.ipam is None:
        return None
    environment = {
        "CNI_CONTAINERID": record.attachment.container,
        "CNI_IFNAME": record.attachment.ifname,
        "CNI_NETNS": record.netns,
        "CNI_ARGS": call.args,
        "CNI_PATH": call.path,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    stdin = call.stdin.encode("utf-8", "surrogateescape")
    return Delegation(call.ipam, call.path, environment, stdin, deadline_s=deadline_s)


def delegation_for(request: Request, *, deadline_s: float = DEADLINE_S) -> Delegation | None:
    """Return how to hand a call on to the plugin that gives the addresses; None when the network has none."""
    kind = find_ipam(request)
    if kind is None:
        return None
    return Delegation(kind, request.path, request.environment, request.stdin, deadline_s=deadline_s)


@contextmanager
def _pod_netns(record: Record, netns: int | None) -> Iterator[int | None]:
    """Give the namespace the VF went to, if it still is what it was; else the caller's."""
    if netns is not None and namespaces.identify(netns).inode == record.netns_inode:
        yield netns
    elif is_same_netns(record.netns, record.netns_inode):
        with namespaces.open_netns(record.netns) as descriptor:
            yield descriptor
    else:
        yield netns


def _restore(record: Record, *, sysfs: Sysfs, netns: int | None) -> None:
    try:
        with open_workplace(record.vf, sysfs=sysfs, netns=netns) as work:
            if record.kind is Kind.USERSPACE or _has_lost_its_device(work):
                _restore_attributes(record, work)
                return
            if record.rdma and work.pod is not None:
                bring_back(record.rdma, vf=record.vf, home=work.home_netns, netns=work.pod.netns)
            _bring_home(record, work, sysfs=sysfs)
    except NotFoundError as error:
        # A VF that was removed has forgotten everything; a new one at its address starts afresh.
        logger.warning("nothing to restore", extra=fields(vf=record.vf, reason=error))


def _has_lost_its_device(work: Workplace) -> bool:
    """Tell whether the network driver has left the VF since: its device went with it, and the next one will be new."""
    return work.vf.driver is None or work.vf.driver in USERSPACE_DRIVERS


def _restore_attributes(record: Record, work: Workplace) -> None:
    """Give the PF back what it kept of a VF that no network device stands for."""
    if record.attributes.is_empty:
        return
    left = record.attributes.difference(read_attributes(work))
    if not left.is_empty:
        apply_attributes(left, work)
        left = record.attributes.difference(read_attributes(work))
    if not left.is_empty:
        raise VerifyError(
            f"VF {record.vf}", f"does not become what it was: its PF lacks {left}", hint="what else changes it?"
        )


def _bring_home(record: Record, work: Workplace, *, sysfs: Sysfs) -> None:
    with ExitStack() as stack:
        work, found = _find(record, work, stack, sysfs=sysfs)
        refused = None
        for _ in range(_ROUNDS):
            refuge, steps = _plan(record, work, found)
            if not steps:
                _complain_of_refuge(record, refuge)
                return
            again = None
            try:
                again = find_again(work, *apply_steps(steps, work, found))
            except KernelError as error:
                # A refused move may have moved the link all the same: look again before giving up.
                if refused is not None and str(refused) == str(error):
                    raise
                refused = error
            work, found = (work, again) if again else _find(record, work, stack, sysfs=sysfs)
        _, left = _plan(record, work, found)
        if left:
            raise refused or VerifyError(
                f"VF {record.vf}",
                f"does not become what it was: still to do: {_phrase(left)}",
                hint="what else changes it?",
            )


def _plan(record: Record, work: Workplace, found: FoundVf) -> tuple[str | None, tuple[Step, ...]]:
    """Return the name to take in place of the VF's own, if it must be another, and what is to be done."""
    refuge = name_refuge(record.vf) if _is_taken(record.home.name, work, found) else None
    lost = [name for name in record.home.altnames if name not in _own_names(found) and _is_taken(name, work, found)]
    if lost:
        # Nobody is called by it, so nobody waits for it: not worth keeping a pod from its end.
        logger.warning("alternative names are another link's now", extra=fields(vf=record.vf, names=",".join(lost)))
    home = replace(record.home, altnames=tuple(name for name in record.home.altnames if name not in lost))
    return refuge, plan_restore(found, home, record.attributes, refuge=refuge)


def _own_names(found: FoundVf) -> tuple[str, ...]:
    return found.link.altnames if found.place is Place.HOME else ()


def _is_taken(name: str, work: Workplace, found: FoundVf) -> bool:
    """Tell whether another link has this name at home."""
    holder = work.home.find(name)
    return holder is not None and not (found.place is Place.HOME and holder.index == found.link.index)


def _find(record: Record, work: Workplace, stack: ExitStack, *, sysfs: Sysfs) -> tuple[Workplace, FoundVf]:
    """Return the VF, and the place to work on it; `stack` keeps open what that needs besides."""
    found = find_in_pod(work, record) or find_at_home(work, sysfs=sysfs)
    if found is not None:
        return work, found
    elsewhere = find_elsewhere(work, record, stack)
    if elsewhere is not None:
        logger.warning("it was moved on from its pod", extra=fields(vf=record.vf))
        return elsewhere
    found = await_homecoming(work, sysfs=sysfs)
    if found is None:
        raise BusyError(
            f"VF {record.vf}",
            "its network device is neither in the pod, nor at home, nor in any namespace that can be seen",
            hint="bring it back, or end what holds its namespace",
        )
    return work, found


def _complain_of_refuge(record: Record, refuge: str | None) -> None:
    if refuge is not None:
        raise BusyError(
            f"VF {record.vf}",
            f"is at home as {refuge!r}: its own name {record.home.name!r} has another link now",
            hint="rename that link",
        )


def _phrase(steps: tuple[Step, ...]) -> str:
    return ", ".join(str(step) for step in steps)


def is_at_home(vf: PciAddress, *, sysfs: Sysfs) -> bool:
    """Tell whether a VF's device is in the node's own namespace."""
    with open_workplace(vf, sysfs=sysfs, netns=None) as work:
        return find_at_home(work, sysfs=sysfs) is not None


def is_left_over(record: Record, *, node: Node) -> bool:
    """Tell whether an attachment stands no longer, so that nobody may ever ask for its end. Its VF's lock is held.

    An ADD holds the lock until its record says that it is done: one that says "planned" has died. A VF that is at home is in
    no pod, whatever its record says; of one that has another owner only the addresses are left. One that a program has is
    in its pod as long as the pod's namespace lives. After another boot there is no pod.
    """
    if record.boot != node.boot or record.phase is Phase.PLANNED:
        return True
    owner = node.records.find_owner(record.vf)
    if owner is not None and owner.attachment != record.attachment:
        return True
    if record.kind is Kind.USERSPACE:
        return not is_same_netns(record.netns, record.netns_inode)
    try:
        return is_at_home(record.vf, sysfs=node.sysfs)
    except (NotFoundError, InputError):
        # Its VF was removed: there is nothing to bring home.
        return True
