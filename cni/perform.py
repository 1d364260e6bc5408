"""Perform one verb from end to end: ask, look, decide, record, act, verify, answer. Knows nothing of who called it.

The daemon and the thin client's own process run exactly this; records and locks on disk keep them out of each other's
way. One INFO line for each call.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cni.add import add
from cni.check import check
from cni.logfile import log_also
from cni.observe import find_pod_netns
from cni.pace import Pace
from cni.record import LOCK_TIMEOUT_S, Records
from cni.request import (
    Request,
    Verb,
    find_device,
    find_valid_attachments,
    find_version,
    parse_request,
)
from cni.restore import Node, delegation_for, delegation_of, release
from cni.result import (
    CONNECTIVITY_LIMITED,
    INTERNAL,
    NOT_AVAILABLE,
    DelegateError,
    RecordError,
    choose_code,
    render_error,
    render_result,
    render_versions,
)
from sriov.errors import BusyError, DpuError, InputError
from sriov.kernel.sysfs import Sysfs
from sriov.log import fields

logger = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Caller:
    """What came with one call."""

    environment: Mapping[str, str]
    stdin: bytes | None
    """None when it could not be read."""
    netns: int | None
    """A descriptor of the file at CNI_NETNS, the caller's to close; None when the caller could not open one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to standard output, and the exit status."""

    text: bytes
    status: int
    code: int = 0
    """The error's code; 0 for success."""


def read_node(*, sysfs: Path, state: Path) -> Node:
    """Take stock of the machine on which calls are performed.

    Args:
        sysfs: where sysfs is mounted.
        state: the state folder.
    """
    return Node(Sysfs(sysfs), Records(state), _BOOT_ID.read_text(encoding="ascii").strip())


def perform(caller: Caller, node: Node, *, pace: Pace | None = None) -> Answer:
    """Perform one call; an error of ours is an answer, too.

    Args:
        caller: what came.
        node: the machine.
        pace: sets the call's deadline, and tells how it went; None: nobody asks, and the deadline is the usual one.
    """
    node = replace(node, pace=pace or Pace())
    request: Request | None = None
    outcome: Mapping[str, object] = {"outcome": "ok"}
    with ExitStack() as stack:
        try:
            node.pace.check()
            request = parse_request(caller.environment, caller.stdin)
            stack.enter_context(log_also(request.document))
            answer = Answer(_perform(request, caller, node), 0)
        except DpuError as error:
            code = _choose_code(error, request)
            answer = Answer(render_error(error, version=find_version(caller.stdin), code=code), 1, code)
            outcome = {"outcome": "error", "code": code, "error": str(error) if error.subject else error.what}
        logger.info("call", extra=fields(**_about(caller, request), **outcome, **_phrase_pace(node.pace)))
    return answer


def _choose_code(error: DpuError, request: Request | None) -> int:
    if request is None or request.verb is not Verb.STATUS or isinstance(error, InputError):
        return choose_code(error)
    limited = isinstance(error, DelegateError) and error.code == CONNECTIVITY_LIMITED
    return CONNECTIVITY_LIMITED if limited else NOT_AVAILABLE


def _about(caller: Caller, request: Request | None) -> Mapping[str, object]:
    names = {"verb": "CNI_COMMAND", "container": "CNI_CONTAINERID", "ifname": "CNI_IFNAME"}
    said: dict[str, object] = {
        word: caller.environment[name] for word, name in names.items() if caller.environment.get(name)
    }
    vf = find_device(request) if request is not None else None
    return said if vf is None else said | {"vf": vf}


def _phrase_pace(pace: Pace) -> Mapping[str, object]:
    """Say how long each phase of the call took, and how long it took as a whole, in milliseconds."""
    phases = {f"{phase}_ms": round(seconds * 1000, 1) for phase, seconds in pace.phases.items()}
    return phases | {"ms": round(pace.elapsed_s * 1000, 1)}


def answer_bug(caller: Caller, error: Exception) -> Answer:
    """Answer a call in which our own code went wrong; for whoever catches everything, and logs it."""
    bug = DpuError("dpukit", f"this is a bug: {type(error).__name__}: {error}", hint="see the log of dpukit-node")
    return Answer(render_error(bug, version=find_version(caller.stdin), code=INTERNAL), 1, INTERNAL)


def _perform(request: Request, caller: Caller, node: Node) -> bytes:
    match request.verb:
        case Verb.VERSION:
            return render_versions()
        case Verb.ADD:
            return render_result(add(request, caller.netns, node), request.version)
        case Verb.DEL:
            _delete(request, caller, node)
        case Verb.GC:
            _collect(request, node)
        case Verb.STATUS:
            _check_status(request, node)
        case Verb.CHECK:
            check(request, caller.netns, node)
    return b""


# -- the other verbs ---------------------------------------------------------------------------------------------------


def _delete(request: Request, caller: Caller, node: Node) -> None:
    record = node.records.find(request.attachment)
    vf = record.vf if record else find_device(request)
    # Without a record, too: an ADD of this attachment that is still at work holds the lock, and is waited for.
    node.pace.lap("ask")
    wait_s = node.pace.left(at_most=LOCK_TIMEOUT_S)
    with node.records.lock(vf, timeout_s=wait_s) if vf else nullcontext():
        node.pace.lap("lock")
        node.pace.check()
        record = node.records.find(request.attachment)
        delegation = delegation_for(request, deadline_s=node.ipam_left_s)
        if record is not None:
            if record.vf != vf:
                raise BusyError(f"VF {record.vf}", "was attached while DEL began", hint="call DEL again")
            release(
                record,
                node=node,
                netns=find_pod_netns(caller.netns),
                delegation=delegation or delegation_of(record, deadline_s=node.ipam_left_s),
            )
            return
        if delegation is not None:
            delegation.run(Verb.DEL)
        # Of an ADD that died before its record was whole there may be a draft.
        node.records.sweep()


def _collect(request: Request, node: Node) -> None:
    """Undo every attachment of this network that the runtime does not name; go on past errors, tell the first."""
    valid = find_valid_attachments(request)
    errors: list[DpuError] = []
    for record in node.records.read_all():
        if isinstance(record, RecordError):
            errors.append(record)
        elif record.network == request.network and record.attachment not in valid:
            try:
                node.pace.check()
                with node.records.lock(record.vf, timeout_s=node.pace.left(at_most=LOCK_TIMEOUT_S)):
                    # What changed while we waited is somebody else's work.
                    if node.records.find(record.attachment) == record:
                        again = delegation_of(record, deadline_s=node.ipam_left_s)
                        release(record, node=node, netns=None, delegation=again)
            except DpuError as error:
                errors.append(error)
    delegation = delegation_for(request, deadline_s=node.ipam_left_s)
    if delegation is not None:
        delegation.run(Verb.GC)
    if errors:
        raise errors[0]


def _check_status(request: Request, node: Node) -> None:
    node.records.check_writable()
    delegation = delegation_for(request, deadline_s=node.ipam_left_s)
    if delegation is not None:
        delegation.run(Verb.STATUS)
