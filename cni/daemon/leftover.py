"""Tell which recorded attachments nobody but us will ever undo, and undo one.

An attachment that stands is left alone while its VF is in a pod: that its runtime has forgotten it cannot be seen from
here, only GC knows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import StrEnum

from cni.attachment import Kind, Phase, Record
from cni.observe import is_same_netns
from cni.pace import Pace
from cni.restore import Node, delegation_of, is_left_over, release
from sriov.errors import DpuError
from sriov.log import fields

logger = logging.getLogger(__name__)


class Leftover(StrEnum):
    """Why an attachment is one that nobody will ever undo but us."""

    EARLIER_BOOT = "earlier-boot"
    """Its VF has forgotten everything since."""
    IN_NO_POD = "in-no-pod"
    """Its VF is at home, or was removed: the pod's namespace ended without DEL, or DEL was not finished."""
    UNFINISHED = "unfinished"
    """Its ADD was never done, and nobody works on it."""
    ADDRESSES = "addresses"
    """Its VF is restored; its addresses are not released."""


@dataclass(frozen=True, slots=True)
class Settled:
    """One leftover that was tried."""

    leftover: Leftover
    error: DpuError | None
    """Why it is not undone; None: it is."""
    restored: int
    """How many VFs were brought home, or made what they were."""


def find_leftover(record: Record, node: Node) -> Leftover | None:
    """Tell why nobody but us will ever undo an attachment; None when somebody may, or when it stands.

    The answer holds while the VF's lock is held, and is a guess without.

    Raises:
        DpuError: the kernel, or the owner's record, cannot be read.
    """
    if record.boot != node.boot:
        return Leftover.EARLIER_BOOT
    if not node.records.is_owner(record):
        return None if _has_lost_its_link(record, node) else Leftover.ADDRESSES
    if record.phase is not Phase.DONE:
        return Leftover.UNFINISHED
    # What sysfs tells at once, for almost all of them: the VF is in its pod.
    if record.kind is Kind.NETDEV and _is_away(record, node):
        return None
    return Leftover.IN_NO_POD if is_left_over(record, node=node) else None


def _is_away(record: Record, node: Node) -> bool:
    """Tell whether the VF has a network device, and not in the node's own namespace."""
    return node.sysfs.find_driver(record.vf) is not None and node.sysfs.find_netdev(record.vf) is None


def _has_lost_its_link(record: Record, node: Node) -> bool:
    """Tell whether somebody has removed the file that says whose the VF is, while a pod has it, and its addresses."""
    if record.phase is not Phase.DONE or node.records.find_owner(record.vf) is not None:
        return False
    if record.kind is Kind.USERSPACE:
        return is_same_netns(record.netns, record.netns_inode)
    return _is_away(record, node)


def settle(record: Record, node: Node) -> Settled | None:
    """Undo an attachment if it is left over. Returns what came of it; None when it is not, or is gone by now.

    Raises:
        BusyError: somebody works on its VF.
        DpuError: the kernel, or a record, cannot be read.
    """
    with node.records.lock(record.vf, timeout_s=0):
        again = node.records.find(record.attachment)
        leftover = None if again is None else find_leftover(again, node)
        return None if again is None or leftover is None else _undo(again, leftover, node)


def _undo(record: Record, leftover: Leftover, node: Node) -> Settled:
    """Undo it; the VF's lock is held."""
    # Each has its own time.
    node = replace(node, pace=Pace())
    try:
        release(record, node=node, netns=None, delegation=delegation_of(record, deadline_s=node.ipam_deadline_s))
    except DpuError as error:
        return Settled(leftover, error, node.pace.restored)
    names = fields(vf=record.vf, container=record.attachment.container, ifname=record.attachment.ifname)
    logger.info("undone", extra=names | fields(leftover=leftover))
    return Settled(leftover, None, node.pace.restored)
