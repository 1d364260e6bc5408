"""Find what a crash, or a runtime that forgot its DEL, has left; undo it."""

from __future__ import annotations

import logging

from cni.attachment import Record
from cni.restore import Node, delegation_of, is_at_home, release
from cni.result import RecordError
from sriov.errors import DpuError, InputError, NotFoundError
from sriov.log import fields

logger = logging.getLogger(__name__)


def reconcile(node: Node) -> int:
    """Undo every recorded attachment whose VF is in no pod. Returns how many.

    A VF that is at home while nobody holds its lock is in no pod, whatever its record says: the pod is gone and the kernel
    has sent the VF home, or an ADD died on the way. Records of an earlier boot are of VFs that have forgotten everything.
    What cannot be undone is logged, and stays for DEL, GC or the next time.
    """
    undone = 0
    for record in node.records.read_all():
        if isinstance(record, RecordError):
            logger.error("a record is kept for a person to look at", extra=fields(reason=record))
            continue
        try:
            undone += _reconcile(record, node)
        except DpuError as error:
            logger.warning("not undone yet", extra=fields(vf=record.vf, reason=error))
    return undone


def _reconcile(record: Record, node: Node) -> bool:
    with node.records.lock(record.vf):
        again = node.records.find(record.attachment)
        if again is None or not _is_left_over(again, node):
            return False
        release(again, node=node, netns=None, delegation=delegation_of(again))
    logger.info("undone", extra=fields(vf=record.vf, container=record.attachment.container, phase=record.phase))
    return True


def _is_left_over(record: Record, node: Node) -> bool:
    if record.boot != node.boot:
        return True
    try:
        return is_at_home(record.vf, sysfs=node.sysfs)
    except (NotFoundError, InputError):
        # Its VF was removed: there is nothing to bring home.
        return True
