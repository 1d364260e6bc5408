"""Perform one verb from end to end: ask, look, decide, record, act, verify, answer. Knows nothing of who called it.

The daemon and the thin client's own process run exactly this; records and locks on disk keep them out of each other's
way. One INFO line for each call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cni.apply import apply_layer3, apply_steps
from cni.attachment import Call, Home, Phase, Record
from cni.ipam import Running
from cni.network import NetworkConfig, check_addresses, parse_network_config
from cni.observe import Pod, Workplace, find_at_home, find_taken, open_workplace, read_attributes
from cni.plan import FoundVf, SetVf, plan_add, plan_layer3, render_ips
from cni.record import Records
from cni.request import (
    Request,
    Verb,
    find_device,
    find_valid_attachments,
    find_version,
    parse_request,
)
from cni.restore import Node, delegation_for, delegation_of, is_at_home, release
from cni.result import (
    CONNECTIVITY_LIMITED,
    INTERNAL,
    NOT_AVAILABLE,
    DelegateError,
    EnvironmentInputError,
    NetnsInputError,
    RecordError,
    Result,
    ResultInterface,
    UnknownContainerError,
    choose_code,
    render_error,
    render_result,
    render_versions,
)
from sriov.errors import BusyError, DpuError, InputError, UnsupportedError, VerifyError
from sriov.kernel import netns as namespaces
from sriov.kernel.sysfs import Sysfs
from sriov.link import Link
from sriov.log import fields
from sriov.model import MacAddress, PciAddress

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


def read_node(*, sysfs: Path, state: Path) -> Node:
    """Take stock of the machine on which calls are performed.

    Args:
        sysfs: where sysfs is mounted.
        state: the state folder.
    """
    return Node(Sysfs(sysfs), Records(state), _BOOT_ID.read_text(encoding="ascii").strip())


def perform(caller: Caller, node: Node) -> Answer:
    """Perform one call; an error of ours is an answer, too."""
    began = time.perf_counter()
    request: Request | None = None
    outcome: Mapping[str, object] = {"outcome": "ok"}
    try:
        request = parse_request(caller.environment, caller.stdin)
        answer = Answer(_perform(request, caller, node), 0)
    except DpuError as error:
        code = _choose_code(error, request)
        answer = Answer(render_error(error, version=find_version(caller.stdin), code=code), 1)
        outcome = {"outcome": "error", "code": code, "error": str(error) if error.subject else error.what}
    logger.info("call", extra=fields(**_about(caller, request), **outcome, ms=_ms_since(began)))
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


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)


def answer_bug(caller: Caller, error: Exception) -> Answer:
    """Answer a call in which our own code went wrong; for whoever catches everything, and logs it."""
    bug = DpuError("dpukit", f"this is a bug: {type(error).__name__}: {error}", hint="see the log of dpukit-node")
    return Answer(render_error(bug, version=find_version(caller.stdin), code=INTERNAL), 1)


def _perform(request: Request, caller: Caller, node: Node) -> bytes:
    match request.verb:
        case Verb.VERSION:
            return render_versions()
        case Verb.ADD:
            return render_result(_add(request, caller, node), request.version)
        case Verb.DEL:
            _delete(request, caller, node)
        case Verb.GC:
            _collect(request, node)
        case Verb.STATUS:
            _check_status(request, node)
        case Verb.CHECK:
            raise UnsupportedError(
                "CNI_COMMAND", "CHECK is not offered yet", hint="call ADD, DEL, GC, STATUS or VERSION"
            )
    return b""


# -- ADD ---------------------------------------------------------------------------------------------------------------


def _add(request: Request, caller: Caller, node: Node) -> Result:
    config = parse_network_config(request)
    for sentence in config.suspicious:
        logger.warning("network configuration", extra=fields(network=request.network, key=sentence))
    netns = _check_netns(request, caller)
    delegation = delegation_for(request)
    if delegation is not None:
        delegation.find_program()
    with ExitStack() as stack:
        stack.enter_context(node.records.lock(config.vf))
        _make_room(config.vf, request, node)
        work = stack.enter_context(open_workplace(config.vf, sysfs=node.sysfs, netns=netns))
        found = _find_free(work, node)
        pod = _pod(work)
        if pod.links.find(request.attachment.ifname) is not None:
            name = request.attachment.ifname
            raise EnvironmentInputError("CNI_IFNAME", f"{name!r} exists in the pod already", hint="choose another name")
        record = _plan_record(request, found, work, boot=node.boot)
        node.records.write(record)
        try:
            return _attach(request, config, record, work, found, node)
        except BaseException:
            _take_back(record, request, node, netns)
            raise


def _check_netns(request: Request, caller: Caller) -> int:
    if caller.netns is None:
        raise UnknownContainerError(
            "CNI_NETNS", f"cannot open {request.netns!r}", hint="the pod's sandbox is gone: the runtime makes a new one"
        )
    try:
        namespaces.check_is_netns(caller.netns, path=request.netns)
    except InputError as error:
        raise NetnsInputError("CNI_NETNS", error.what, hint=error.hint) from error
    if namespaces.identify(caller.netns) == namespaces.identify_own():
        raise NetnsInputError("CNI_NETNS", f"{request.netns!r} is the node's own network namespace")
    return caller.netns


def _make_room(vf: PciAddress, request: Request, node: Node) -> None:
    """Make sure that no attachment has the VF; undo one whose pod is gone without a word."""
    owner = node.records.find_owner(vf)
    if owner is None:
        return
    if owner.attachment == request.attachment:
        raise BusyError(f"VF {vf}", "is attached to this interface already", hint="call DEL before another ADD")
    # We hold the VF's lock, so nobody is at work on it: a VF at home is in no pod, whatever the record says.
    if owner.boot == node.boot and not is_at_home(vf, sysfs=node.sysfs):
        raise BusyError(
            f"VF {vf}",
            f"is in use by interface {owner.attachment.ifname} of container {owner.attachment.container}",
            hint="it becomes free with that container's DEL",
        )
    logger.warning("its pod is gone without DEL", extra=fields(vf=vf, container=owner.attachment.container))
    release(owner, node=node, netns=None, delegation=delegation_of(owner))


def _find_free(work: Workplace, node: Node) -> FoundVf:
    subject, driver = f"VF {work.vf.address}", work.vf.driver
    found = find_at_home(work, sysfs=node.sysfs)
    if found is not None:
        return found
    if driver is None:
        raise UnsupportedError(
            subject, "no driver is bound to it", hint="bind its network driver, or provision it again"
        )
    if driver in ("vfio-pci", "uio_pci_generic", "igb_uio"):
        raise UnsupportedError(
            subject, f"is bound to {driver}", hint="dpukit attaches VFs with a network driver so far"
        )
    raise BusyError(
        subject, "has no network device here", hint="another network namespace has it, or its driver is starting"
    )


def _plan_record(request: Request, found: FoundVf, work: Workplace, *, boot: str) -> Record:
    link = found.link
    return Record(
        attachment=request.attachment,
        network=request.network,
        vf=work.vf.address,
        netns=request.netns,
        netns_inode=namespaces.identify(_pod(work).netns).inode,
        phase=Phase.PLANNED,
        boot=boot,
        home=Home(
            index=link.index,
            name=link.name,
            altnames=link.altnames,
            mac=link.mac or MacAddress(bytes(6)),
            mtu=link.mtu,
            up=link.up,
            tells_parent=link.parent is not None,
        ),
        attributes=found.attributes,
        call=Call(
            ipam=delegation.kind if (delegation := delegation_for(request)) else None,
            version=request.version,
            args=request.args,
            path=request.path,
            stdin=request.stdin.decode("utf-8", "surrogateescape"),
        ),
    )


def _attach(
    request: Request, config: NetworkConfig, record: Record, work: Workplace, found: FoundVf, node: Node
) -> Result:
    ifname, pod = request.attachment.ifname, _pod(work)
    taken = find_taken(pod.links, found.link.altnames)
    steps = plan_add(found, config, ifname=ifname, taken=taken)
    delegation = delegation_for(request)
    # IPAM is another program, and slower than the kernel: it works while the VF moves.
    with delegation.start(Verb.ADD) if delegation else nullcontext() as running:
        apply_steps(steps, work, found)
        link = _verify(work, config, ifname=ifname, sets_vf=any(isinstance(step, SetVf) for step in steps))
        addresses = running.wait_for_addresses() if isinstance(running, Running) else Result()
    check_addresses(config, addresses)
    layer3 = plan_layer3(config.routed, addresses)
    apply_layer3(layer3, pod, link.index)
    previous = config.previous or Result()
    ips = render_ips(layer3, config.routed, addresses, interface=len(previous.interfaces))
    node.records.write(record.finished(index=link.index, mac=str(link.mac), ips=tuple(str(ip.address) for ip in ips)))
    own = ResultInterface(ifname, str(link.mac), link.mtu, sandbox=request.netns, pci_id=str(config.vf))
    return Result(
        interfaces=(*previous.interfaces, own),
        ips=(*previous.ips, *ips),
        routes=(*previous.routes, *(route for route in layer3.routes if route.gateway is not None)),
        dns=addresses.dns or config.dns or previous.dns,
    )


def _verify(work: Workplace, config: NetworkConfig, *, ifname: str, sets_vf: bool) -> Link:
    """Read back what was written."""
    subject = f"VF {config.vf}"
    link = _pod(work).links.find(ifname)
    if link is None:
        raise VerifyError(subject, f"is not in the pod as {ifname!r} after it was moved there")
    for what, wanted, now in (("MAC", config.mac, link.mac), ("MTU", config.mtu, link.mtu)):
        if wanted not in (None, now):
            raise VerifyError(subject, f"its {what} is {now}, not {wanted}", hint="the driver took it without doing it")
    if sets_vf:
        kept = read_attributes(work)
        left = replace(config.attributes, mac=config.attributes.mac if kept.mac else None).difference(kept)
        if not left.is_empty:
            raise VerifyError(subject, f"its PF still lacks {left}", hint="the driver took it without doing it")
    return link


def _take_back(record: Record, request: Request, node: Node, netns: int) -> None:
    """Undo a failed ADD. While its VF is not restored, the record stays, and DEL tries again."""
    try:
        release(record, node=node, netns=netns, delegation=delegation_for(request))
    except DpuError as error:
        logger.warning("a failed ADD is not undone whole", extra=fields(vf=record.vf, reason=error))
        if node.records.find_owner(record.vf) is None:
            # Only the addresses are left, which DEL releases with or without a record.
            node.records.remove(record)


def _pod(work: Workplace) -> Pod:
    if work.pod is None:
        raise AssertionError("ADD opens the pod's namespace")
    return work.pod


# -- the other verbs ---------------------------------------------------------------------------------------------------


def _delete(request: Request, caller: Caller, node: Node) -> None:
    record = node.records.find(request.attachment)
    vf = record.vf if record else find_device(request)
    # Without a record, too: an ADD of this attachment that is still at work holds the lock, and is waited for.
    with node.records.lock(vf) if vf else nullcontext():
        record = node.records.find(request.attachment)
        delegation = delegation_for(request)
        if record is not None:
            if record.vf != vf:
                raise BusyError(f"VF {record.vf}", "was attached while DEL began", hint="call DEL again")
            release(record, node=node, netns=_usable_netns(caller), delegation=delegation or delegation_of(record))
        elif delegation is not None:
            delegation.run(Verb.DEL)


def _usable_netns(caller: Caller) -> int | None:
    """Return the pod's namespace; None when what stands at CNI_NETNS is none, or the node's own."""
    if caller.netns is None:
        return None
    try:
        namespaces.check_is_netns(caller.netns, path="CNI_NETNS")
    except InputError:
        return None
    return None if namespaces.identify(caller.netns) == namespaces.identify_own() else caller.netns


def _collect(request: Request, node: Node) -> None:
    """Undo every attachment of this network that the runtime does not name; go on past errors, tell the first."""
    valid = find_valid_attachments(request)
    errors: list[DpuError] = []
    for record in node.records.read_all():
        if isinstance(record, RecordError):
            errors.append(record)
        elif record.network == request.network and record.attachment not in valid:
            try:
                with node.records.lock(record.vf):
                    release(record, node=node, netns=None, delegation=delegation_of(record))
            except DpuError as error:
                errors.append(error)
    delegation = delegation_for(request)
    if delegation is not None:
        delegation.run(Verb.GC)
    if errors:
        raise errors[0]


def _check_status(request: Request, node: Node) -> None:
    node.records.check_writable()
    delegation = delegation_for(request)
    if delegation is not None:
        delegation.run(Verb.STATUS)
