"""ADD from end to end: look, decide, record, act, verify. What it could not finish it takes back."""

from __future__ import annotations

import logging
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cni.apply import apply_attributes, apply_layer3, apply_steps
from cni.attachment import Call, Home, Kind, Phase, Record
from cni.devicefile import write_device_file
from cni.ipam import Delegation, Running
from cni.network import NetworkConfig, check_addresses, parse_network_config
from cni.observe import Pod, Workplace, check_pod_netns, find_free, find_taken, open_workplace, read_attributes
from cni.plan import (
    FoundVf,
    Layer3,
    SetVf,
    UserspaceVf,
    find_lacking,
    plan_add,
    plan_layer3,
    render_ips,
    render_routes,
)
from cni.rdma import find_rdma, take_along
from cni.record import LOCK_TIMEOUT_S
from cni.request import Request, Verb, find_ipam
from cni.restore import Node, delegation_for, delegation_of, is_left_over, release
from cni.result import DelegateError, EnvironmentInputError, Result, ResultInterface
from cni.settle import prepare_ipv6, settle
from sriov.errors import BusyError, DpuError, UnsupportedError, VerifyError
from sriov.kernel import netns as namespaces
from sriov.link import Link
from sriov.log import fields
from sriov.model import MacAddress, PciAddress

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Addition:
    """One ADD, once it is known what is to be done, with what and where."""

    request: Request
    config: NetworkConfig
    work: Workplace
    record: Record
    delegation: Delegation | None

    @property
    def ifname(self) -> str:
        return self.request.attachment.ifname

    @property
    def pod(self) -> Pod:
        return _pod(self.work)


def add(request: Request, netns: int | None, node: Node) -> Result:
    """Give a pod the VF that its network names.

    Args:
        request: the call.
        netns: a descriptor of what stands at CNI_NETNS, stays the caller's; None when nothing could be opened.
        node: the machine.

    Raises:
        DpuError: it cannot be done; what was done is undone, or recorded for whoever comes next.
    """
    config = parse_network_config(request)
    for sentence in config.suspicious:
        logger.warning("network configuration", extra=fields(network=request.network, key=sentence))
    override = request.environment.get("CNI_NETNS_OVERRIDE", "").lower() in ("1", "true")
    pod_netns = check_pod_netns(netns, request.netns, override=override)
    delegation = delegation_for(request, deadline_s=node.ipam_deadline_s)
    if delegation is not None:
        delegation.find_program()
    pace = node.pace
    pace.lap("ask")
    with ExitStack() as stack:
        stack.enter_context(node.records.lock(config.vf, timeout_s=pace.left(at_most=LOCK_TIMEOUT_S)))
        pace.lap("lock")
        _make_room(config.vf, request, node)
        work = stack.enter_context(open_workplace(config.vf, sysfs=node.sysfs, netns=pod_netns))
        found = find_free(work, sysfs=node.sysfs)
        _refuse_what_it_cannot_be(found, config)
        _refuse_taken_name(work, request)
        record = _plan_record(request, found, work, node=node)
        pace.lap("look")
        pace.check()
        node.records.write(record)
        pace.lap("record")
        if delegation is not None:
            delegation = replace(delegation, lock=node.records.find_lock(config.vf))
        addition = _Addition(request, config, work, record, delegation)
        try:
            return _attach(addition, found, node)
        except BaseException as error:
            _take_back(addition, node, pod_netns, why=error)
            raise


def _make_room(vf: PciAddress, request: Request, node: Node) -> None:
    """Make sure that no attachment has the VF; undo one whose pod is gone without a word."""
    known = node.records.find(request.attachment)
    if known is not None and known.vf != vf:
        raise BusyError(
            f"interface {request.attachment}", f"has VF {known.vf} already", hint="call DEL before another ADD"
        )
    owner = node.records.find_owner(vf)
    if owner is None:
        return
    if owner.attachment == request.attachment:
        raise BusyError(f"VF {vf}", "is attached to this interface already", hint="call DEL before another ADD")
    if not is_left_over(owner, node=node):
        raise BusyError(
            f"VF {vf}",
            f"is in use by interface {owner.attachment.ifname} of container {owner.attachment.container}",
            hint="it becomes free with that container's DEL",
        )
    logger.warning("its pod is gone without DEL", extra=fields(vf=vf, container=owner.attachment.container))
    release(owner, node=node, netns=None, delegation=delegation_of(owner, deadline_s=node.ipam_deadline_s))


def _refuse_what_it_cannot_be(found: FoundVf | UserspaceVf, config: NetworkConfig) -> None:
    if isinstance(found, UserspaceVf) and config.mtu is not None:
        raise UnsupportedError(
            f"VF {config.vf}",
            f"is bound to {found.driver}, so its MTU cannot be set to {config.mtu}",
            hint="take mtu away: the program that has the VF sets its own",
        )


def _refuse_taken_name(work: Workplace, request: Request) -> None:
    name = request.attachment.ifname
    if _pod(work).links.find(name) is not None:
        raise EnvironmentInputError("CNI_IFNAME", f"{name!r} exists in the pod already", hint="choose another name")


def _pod(work: Workplace) -> Pod:
    if work.pod is None:
        raise AssertionError("ADD opens the pod's namespace")
    return work.pod


def _plan_record(request: Request, found: FoundVf | UserspaceVf, work: Workplace, *, node: Node) -> Record:
    has_netdev = isinstance(found, FoundVf)
    return Record(
        attachment=request.attachment,
        network=request.network,
        vf=work.vf.address,
        netns=request.netns,
        netns_inode=namespaces.identify(_pod(work).netns).inode,
        phase=Phase.PLANNED,
        boot=node.boot,
        home=_home_of(found.link) if isinstance(found, FoundVf) else Home.nowhere(),
        attributes=found.attributes,
        call=Call(
            ipam=find_ipam(request),
            version=request.version,
            args=request.args,
            path=request.path,
            stdin=request.stdin.decode("utf-8", "surrogateescape"),
        ),
        kind=Kind.NETDEV if has_netdev else Kind.USERSPACE,
        rdma=find_rdma(work.vf.address, sysfs=node.sysfs) if has_netdev else "",
    )


def _home_of(link: Link) -> Home:
    return Home(
        index=link.index,
        name=link.name,
        altnames=link.altnames,
        mac=link.mac or MacAddress(bytes(6)),
        mtu=link.mtu,
        up=link.up,
        tells_parent=link.parent is not None,
    )


def _attach(addition: _Addition, found: FoundVf | UserspaceVf, node: Node) -> Result:
    delegation, config, pace = addition.delegation, addition.config, node.pace
    if delegation is not None:
        # Taking the addresses back, should it come to that, has its own time.
        delegation = replace(delegation, deadline_s=pace.left(at_most=delegation.deadline_s))
    # IPAM is another program, and slower than the kernel: it works while the VF moves.
    with delegation.start(Verb.ADD) if delegation else nullcontext() as running:
        link = _take_in(addition, found)
        pace.lap("move")
        addresses = running.wait_for_addresses() if isinstance(running, Running) else Result()
    pace.lap("ipam")
    check_addresses(config, addresses)
    layer3 = plan_layer3(config.routed, addresses)
    if link is not None:
        _configure(addition, layer3, link, stays=node.stays)
    pace.lap("layer3")
    pace.check()
    previous = config.previous or Result()
    ips = render_ips(layer3, config.routed, addresses, interface=len(previous.interfaces))
    own = _describe(addition, link)
    index = addition.record.home.index if link is None else link.index
    node.records.write(addition.record.finished(index=index, mac=own.mac, ips=tuple(str(ip.address) for ip in ips)))
    _write_device_file(addition)
    pace.lap("record")
    return Result(
        interfaces=(*previous.interfaces, own),
        ips=(*previous.ips, *ips),
        routes=(*previous.routes, *render_routes(layer3, config.routed)),
        dns=addresses.dns or config.dns or previous.dns,
    )


def _take_in(addition: _Addition, found: FoundVf | UserspaceVf) -> Link | None:
    """Give the VF to the pod. Returns its network device there, if it has one."""
    if isinstance(found, FoundVf):
        return _move(addition, found)
    _hand_over(addition, found)
    return None


def _move(addition: _Addition, found: FoundVf) -> Link:
    """Bring the VF's device into the pod. Returns it as it then is."""
    work, record = addition.work, addition.record
    taken = find_taken(addition.pod.links, found.link.altnames)
    steps = plan_add(found, addition.config, ifname=addition.ifname, taken=taken)
    apply_steps(steps, work, found)
    if record.rdma:
        take_along(record.rdma, vf=record.vf, netns=addition.pod.netns)
    if any(isinstance(step, SetVf) for step in steps):
        _verify_attributes(addition)
    return _verify_link(addition)


def _verify_link(addition: _Addition) -> Link:
    """Read back what was written."""
    config, subject = addition.config, f"VF {addition.config.vf}"
    link = addition.pod.links.find(addition.ifname)
    if link is None:
        raise VerifyError(subject, f"is not in the pod as {addition.ifname!r} after it was moved there")
    for what, wanted, now in (("MAC", config.mac, link.mac), ("MTU", config.mtu, link.mtu)):
        if wanted not in (None, now):
            raise VerifyError(subject, f"its {what} is {now}, not {wanted}", hint="the driver took it without doing it")
    return link


def _hand_over(addition: _Addition, found: UserspaceVf) -> None:
    """Prepare a VF that is a program's: only its PF is told anything."""
    wanted = addition.config.attributes.difference(found.attributes)
    if not wanted.is_empty:
        apply_attributes(wanted, addition.work)
        _verify_attributes(addition)


def _verify_attributes(addition: _Addition) -> None:
    left = find_lacking(addition.config.attributes, read_attributes(addition.work))
    if not left.is_empty:
        subject = f"VF {addition.config.vf}"
        raise VerifyError(subject, f"its PF still lacks {left}", hint="the driver took it without doing it")


def _configure(addition: _Addition, layer3: Layer3, link: Link, *, stays: bool) -> None:
    prepare_ipv6(layer3, addition.pod, addition.ifname)
    apply_layer3(layer3, addition.pod, link.index)
    settle(layer3, addition.pod, link, stays=stays)


def _describe(addition: _Addition, link: Link | None) -> ResultInterface:
    """Say what the pod has now; of a VF that a program has, what is known."""
    name, sandbox, vf = addition.ifname, addition.request.netns, str(addition.config.vf)
    if link is not None:
        return ResultInterface(name, str(link.mac), link.mtu, sandbox=sandbox, pci_id=vf)
    kept = addition.record.attributes.mac
    mac = addition.config.mac or (kept if kept is not None and not kept.is_zero else None)
    return ResultInterface(name, "" if mac is None else str(mac), sandbox=sandbox, pci_id=vf)


def _write_device_file(addition: _Addition) -> None:
    path, pf = addition.config.device_file, addition.work.pf_address
    if not path or pf is None:
        return
    try:
        write_device_file(Path(path), vf=addition.config.vf, pf=pf)
    except DpuError as error:
        logger.warning(
            "the runtime gets no description of the device", extra=fields(vf=addition.config.vf, reason=error)
        )


def _take_back(addition: _Addition, node: Node, netns: int, *, why: BaseException) -> None:
    """Undo a failed ADD. What cannot be undone now stays on record, for DEL, GC or the reconciler to try again."""
    record = addition.record
    try:
        release(record, node=node, netns=netns, delegation=addition.delegation)
    except DpuError as error:
        # The record stays also when only the addresses are left: some runtimes send no DEL that would release them.
        logger.warning("a failed ADD is not undone whole", extra=fields(vf=record.vf, reason=error))
        gave_none = isinstance(why, DelegateError) and why.code != 0
        if gave_none and node.records.find_owner(record.vf) is None:
            # A plugin that answers with an error of its own has given nothing, and with a wrong configuration it will
            # answer the same for ever: each try of the pod would leave a record.
            node.records.remove(record)
