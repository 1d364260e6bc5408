"""Bring a VF home and make it what it was, from its record; then give up its addresses, then forget.

The one routine of DEL, of a failed ADD, of GC, and of whoever finds what a crash has left. The caller holds the VF's lock.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cni.apply import apply_steps
from cni.attachment import Record
from cni.ipam import Delegation
from cni.observe import (
    Workplace,
    await_homecoming,
    find_again,
    find_at_home,
    find_in_pod,
    is_same_netns,
    open_workplace,
)
from cni.plan import FoundVf, Place, Step, name_refuge, plan_restore
from cni.record import Records
from cni.request import Request, Verb, find_ipam
from sriov.errors import BusyError, DpuError, KernelError, NotFoundError, UnsupportedError, VerifyError
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
    # IPAM is another program, and slow: it works while the VF comes home.
    with _release_addresses(delegation) as wait:
        if owner is not None and owner.attachment == record.attachment:
            if record.boot == node.boot:
                with _pod_netns(record, netns) as descriptor:
                    _restore(record, sysfs=node.sysfs, netns=descriptor)
            node.records.disown(record)
        wait()
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


def delegation_of(record: Record) -> Delegation | None:
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
    return Delegation(call.ipam, call.path, environment, call.stdin.encode("utf-8", "surrogateescape"))


def delegation_for(request: Request) -> Delegation | None:
    """Return how to hand a call on to the plugin that gives the addresses; None when the network has none."""
    kind = find_ipam(request)
    return None if kind is None else Delegation(kind, request.path, request.environment, request.stdin)


@contextmanager
def _pod_netns(record: Record, netns: int | None) -> Iterator[int | None]:
    """Give the pod's namespace: the caller's, or the recorded one if it still is what it was."""
    if netns is not None or not is_same_netns(record.netns, record.netns_inode):
        yield netns
        return
    with namespaces.open_netns(record.netns) as descriptor:
        yield descriptor


def _restore(record: Record, *, sysfs: Sysfs, netns: int | None) -> None:
    try:
        with open_workplace(record.vf, sysfs=sysfs, netns=netns) as work:
            _bring_home(record, work, sysfs=sysfs)
    except NotFoundError as error:
        # A VF that was removed has forgotten everything; a new one at its address starts afresh.
        logger.warning("nothing to restore", extra=fields(vf=record.vf, reason=error))


def _bring_home(record: Record, work: Workplace, *, sysfs: Sysfs) -> None:
    found, refused = _find(record, work, sysfs=sysfs), None
    for _ in range(_ROUNDS):
        refuge = _choose_refuge(record, work, found)
        steps = plan_restore(found, record.home, record.attributes, refuge=refuge)
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
        found = again or _find(record, work, sysfs=sysfs)
    left = plan_restore(found, record.home, record.attributes, refuge=_choose_refuge(record, work, found))
    if left:
        raise refused or VerifyError(
            f"VF {record.vf}",
            f"does not become what it was: still to do: {_phrase(left)}",
            hint="what else changes it?",
        )


def _find(record: Record, work: Workplace, *, sysfs: Sysfs) -> FoundVf:
    found = find_in_pod(work, record) or find_at_home(work, sysfs=sysfs)
    if found is not None:
        return found
    if work.vf.driver is None:
        raise UnsupportedError(
            f"VF {record.vf}",
            "no driver is bound to it, so it cannot be restored",
            hint="bind its network driver again",
        )
    found = await_homecoming(work, sysfs=sysfs)
    if found is None:
        raise BusyError(
            f"VF {record.vf}",
            "its network device is neither in the pod nor at home",
            hint="another network namespace has it: bring it back, or end what holds that namespace",
        )
    return found


def _choose_refuge(record: Record, work: Workplace, found: FoundVf) -> str | None:
    """Return a name that is free at home, when the VF's own is somebody else's there."""
    holder = work.home.find(record.home.name)
    if holder is None or (found.place is Place.HOME and holder.index == found.link.index):
        return None
    return name_refuge(record.vf)


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
