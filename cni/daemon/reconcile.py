"""Find what a crash, a dead pod, or a runtime that forgot its DEL has left, and undo it.

Level-triggered: an event is a reason to look at all records, at start and ever again; what is to be done follows from what
is there. Reasons are a change of a link of the node's namespace (the kernel sends a dead pod's VF home), a call that
failed, the time at which a leftover is to be tried again, and, in case all of these were missed, the time as such.

A VF whose lock somebody holds is being worked on, and left alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from cni.attachment import Kind, Record
from cni.daemon.leftover import Leftover, Settled, find_leftover, settle
from cni.observe import is_same_netns
from cni.request import AttachmentId
from cni.restore import Node
from cni.result import RecordError
from sriov.errors import BusyError, DpuError
from sriov.kernel.link import watch_links
from sriov.log import fields

logger = logging.getLogger(__name__)

_WORKERS = 4
"""Leftovers undone at the same time: behind each may be an IPAM plugin that takes its time."""
_REST_S = 0.02
_SHARE = 4
"""After a look, none for so many times as long as it had the processor: looking costs a fifth of a core at most."""
_RETRY_FIRST_S = 1.0
_RETRY_LAST_S = 60.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a leftover is still there, and when it is tried again."""

    reason: str
    times: int
    again_at: float


class Reconciler:
    """Looks after the records of one node.

    Args:
        node: the machine.
        interval_s: look at least this often, in seconds.
        settled: is told of each leftover that was tried.
    """

    def __init__(self, node: Node, *, interval_s: float, settled: Callable[[Settled], None]) -> None:
        self._node = node
        self._interval_s = interval_s
        self._settled = settled
        self._bell, self._news = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._at_work: dict[AttachmentId, Future[None]] = {}
        self._failures: dict[AttachmentId, _Failure] = {}
        self._seen: set[tuple[AttachmentId, int]] = set()
        self._complaints: frozenset[str] = frozenset()
        self._has_looked = False
        self.looked = threading.Event()
        """Set once everything that was found at the first look has been tried."""
        self.standing = 0
        """How many records the last look found."""
        self.unreadable = 0
        """How many of the records cannot be understood."""

    @property
    def failing(self) -> int:
        """How many leftovers could not be undone yet."""
        with self._lock:
            return sum(1 for failure in self._failures.values() if failure.reason)

    def wake(self) -> None:
        """Have it look soon: there is news."""
        self._news.set()
        self._bell.set()

    def run(self, stop: threading.Event) -> None:
        """Look, and look again, until `stop` is set and `wake` was called; what is begun then is finished."""
        with watch_links() as wait, ThreadPoolExecutor(_WORKERS, thread_name_prefix="undo") as pool:
            threading.Thread(target=self._listen, args=(wait, stop), name="links", daemon=True).start()
            while not stop.is_set():
                self._bell.clear()
                has_news = self._news.is_set()
                self._news.clear()
                began = time.thread_time()
                try:
                    self._look(pool, has_news=has_news)
                except Exception:
                    logger.exception("a look went wrong")
                if not stop.wait(max(_REST_S, _SHARE * (time.thread_time() - began))):
                    self._bell.wait(self._patience())

    def _listen(self, wait: Callable[[float], None], stop: threading.Event) -> None:
        while not stop.is_set():
            wait(self._interval_s)
            self.wake()

    def _patience(self) -> float:
        with self._lock:
            times = [failure.again_at for key, failure in self._failures.items() if key not in self._at_work]
        return min([self._interval_s, *(max(0.0, again_at - time.monotonic()) for again_at in times)])

    # -- one look ------------------------------------------------------------------------------------------------------

    def _look(self, pool: ThreadPoolExecutor, *, has_news: bool) -> None:
        found = self._node.records.read_all()
        records = [record for record in found if isinstance(record, Record)]
        self._complain({str(error) for error in found if isinstance(error, RecordError)} | self._sweep())
        self.standing, self.unreadable = len(found), len(found) - len(records)
        self._note_seen(records)
        with self._lock:
            there = {record.attachment for record in records}
            self._failures = {key: failure for key, failure in self._failures.items() if key in there}
        for record in records:
            if self._is_due(record, has_news=has_news):
                self._consider(record, pool)
        with self._lock:
            self._has_looked = True
            self._note_first_look()

    def _consider(self, record: Record, pool: ThreadPoolExecutor) -> None:
        try:
            leftover = find_leftover(record, self._node)
        except DpuError as error:
            self._note_failure(record, error)
            return
        if leftover is None or not self._can_tell(record, leftover):
            self._note_success(record)
            return
        with self._lock:
            self._at_work[record.attachment] = pool.submit(self._settle, record)

    def _can_tell(self, record: Record, leftover: Leftover) -> bool:
        """Tell whether the pod's namespace is gone, where all depends on that, or just not to be seen from here.

        A daemon in a container may have another view of the file system. What it has seen once, it would see again.
        """
        if record.kind is not Kind.USERSPACE or leftover is not Leftover.IN_NO_POD:
            return True
        return (record.attachment, record.netns_inode) in self._seen

    def _note_seen(self, records: Iterable[Record]) -> None:
        users = [record for record in records if record.kind is Kind.USERSPACE]
        alive = {
            (record.attachment, record.netns_inode)
            for record in users
            if is_same_netns(record.netns, record.netns_inode)
        }
        self._seen = alive | (self._seen & {(record.attachment, record.netns_inode) for record in users})

    def _sweep(self) -> set[str]:
        try:
            self._node.records.sweep()
        except DpuError as error:
            return {str(error)}
        return set()

    def _complain(self, complaints: set[str]) -> None:
        for complaint in sorted(complaints - self._complaints):
            logger.error("a person has to look at this", extra=fields(reason=complaint))
        self._complaints = frozenset(complaints)

    def _is_due(self, record: Record, *, has_news: bool) -> bool:
        """Tell whether to look at a record: it is not at work, and did not fail, or not just now.

        With one that somebody else worked on, any news is a reason: it may have been theirs.
        """
        with self._lock:
            failure = self._failures.get(record.attachment)
            waits = failure is not None and failure.again_at > time.monotonic()
            was_busy = failure is not None and not failure.reason
            return record.attachment not in self._at_work and (not waits or (was_busy and has_news))

    # -- one leftover --------------------------------------------------------------------------------------------------

    def _settle(self, record: Record) -> None:
        try:
            self._try(record)
        except BusyError:
            # Somebody works on it: that may be all there is to it.
            self._postpone(record)
        except DpuError as error:
            self._note_failure(record, error)
        except Exception as error:
            logger.exception("undoing went wrong")
            self._note_failure(record, DpuError("dpukit", f"this is a bug: {type(error).__name__}: {error}"))
        finally:
            with self._lock:
                self._at_work.pop(record.attachment, None)
                self._note_first_look()
            # What was heard of it meanwhile has been passed over; and there may be an earlier time to wake up at.
            self._bell.set()

    def _note_first_look(self) -> None:
        """Note, the lock being held, that all that was found at the first look has been tried."""
        if self._has_looked and not self._at_work:
            self.looked.set()

    def _try(self, record: Record) -> None:
        settled = settle(record, self._node)
        if settled is not None:
            self._settled(settled)
        if settled is not None and settled.error is not None:
            self._note_failure(record, settled.error)
        else:
            self._note_success(record)

    def _note_success(self, record: Record) -> None:
        with self._lock:
            self._failures.pop(record.attachment, None)

    def _note_failure(self, record: Record, error: DpuError) -> None:
        reason = str(error)
        with self._lock:
            before = self._failures.get(record.attachment)
            times = before.times + 1 if before else 1
            wait = min(_RETRY_LAST_S, _RETRY_FIRST_S * 2 ** (times - 1))
            self._failures[record.attachment] = _Failure(reason, times, time.monotonic() + wait)
        if before is None or before.reason != reason:
            logger.warning("not undone yet", extra=fields(vf=record.vf, reason=reason, **_names(record)))

    def _postpone(self, record: Record) -> None:
        with self._lock:
            before = self._failures.get(record.attachment) or _Failure("", 0, 0.0)
            self._failures[record.attachment] = replace(before, again_at=time.monotonic() + _RETRY_FIRST_S)


def _names(record: Record) -> dict[str, object]:
    return {"container": record.attachment.container, "ifname": record.attachment.ifname}
