"""What the daemon's reconciler does at its start, and then ever again, in the process of a test that has no daemon."""

from __future__ import annotations

import time

from cni.attachment import Record
from cni.daemon.leftover import Settled, settle
from cni.restore import Node
from sriov.errors import BusyError

_PATIENCE_S = 60


def reconcile(machine: Node) -> int:
    """Undo every attachment that is left over; return how many there were. One that cannot be undone is a failure."""
    machine.records.sweep()
    count = 0
    for record in machine.records.read_all():
        assert isinstance(record, Record), record
        settled = _settle_in_time(record, machine)
        assert settled is None or settled.error is None, settled
        count += settled is not None
    return count


def _settle_in_time(record: Record, machine: Node) -> Settled | None:
    """Come again, as the daemon does, while a dead worker's IPAM plugin is still at work."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return settle(record, machine)
        except BusyError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
