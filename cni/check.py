"""CHECK: tell what of an attachment is not as ADD left it. Changes nothing, and holds no lock.

What is compared is what ADD answered (``prevResult``), what the network wants, and what our own record knows. More than
that may be there: plugins later in the chain add addresses, routes, links of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace

from cni.attachment import Kind, Phase, Record
from cni.ipam import Running
from cni.network import NetworkConfig, parse_network_config
from cni.observe import (
    USERSPACE_DRIVERS,
    Workplace,
    check_pod_netns,
    find_in_pod,
    open_workplace,
    read_attributes,
)
from cni.plan import Layer3, find_lacking, plan_layer3
from cni.request import Request, Verb
from cni.restore import Node, delegation_for
from cni.result import Result, ResultInterface
from sriov.document import Interface
from sriov.errors import InputError, VerifyError
from sriov.kernel import netns as namespaces
from sriov.link import Link, LinkAddress, Neighbour, Route, VfAttributes


def check(request: Request, netns: int | None, node: Node) -> None:
    """Compare an attachment with what it should be.

    Args:
        request: the call.
        netns: a descriptor of what stands at CNI_NETNS, stays the caller's; None when nothing could be opened.
        node: the machine.

    Raises:
        VerifyError: something differs; everything that does is named.
        DpuError: it cannot be compared, or IPAM has found something.
    """
    config = parse_network_config(request)
    if config.previous is None:
        raise InputError("prevResult", "is missing", hint="the runtime gives CHECK what ADD answered")
    pod_netns = check_pod_netns(netns, request.netns, override=False)
    record = node.records.find(request.attachment)
    delegation = delegation_for(request, deadline_s=node.ipam_left_s)
    with delegation.start(Verb.CHECK) if delegation else nullcontext() as running:
        wrong = list(_differences_of_record(request, config, record, netns=pod_netns))
        if record is not None and not wrong:
            with open_workplace(record.vf, sysfs=node.sysfs, netns=pod_netns) as work:
                wrong.extend(_look(request, config, record, work))
        if wrong:
            raise VerifyError(f"interface {request.attachment.ifname}", "; ".join(wrong), hint="make the pod anew")
        if isinstance(running, Running):
            running.wait()


def _differences_of_record(
    request: Request, config: NetworkConfig, record: Record | None, *, netns: int
) -> Iterator[str]:
    if record is None:
        yield f"nothing is recorded of it for container {request.attachment.container}"
        return
    if record.vf != config.vf:
        yield f"it has VF {record.vf}, not {config.vf}"
    if record.network != request.network:
        yield f"it belongs to network {record.network}, not {request.network}"
    if record.netns_inode != namespaces.identify(netns).inode:
        yield f"the namespace at {request.netns!r} is not the one it was attached to"
    if record.phase is not Phase.DONE:
        yield "its ADD did not come to an end"


@dataclass(frozen=True, slots=True)
class Seen:
    """An attachment as it is now; of a VF that a program has, its attributes only."""

    attributes: VfAttributes
    link: Link | None = None
    addresses: tuple[LinkAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


def _look(request: Request, config: NetworkConfig, record: Record, work: Workplace) -> Iterator[str]:
    previous = config.previous or Result()
    expected = find_own(previous, request)
    if expected is None:
        yield f"prevResult has no interface {request.attachment.ifname} in {request.netns}"
        return
    if record.kind is Kind.USERSPACE:
        if work.vf.driver not in USERSPACE_DRIVERS:
            yield f"its VF is bound to {work.vf.driver or 'no driver'}, which hands it to no program"
        yield from compare_attributes(config.attributes, read_attributes(work))
        return
    found = find_in_pod(work, record)
    if found is None or work.pod is None:
        yield f"VF {record.vf} is not in the pod"
        return
    addressing, index = work.pod.addressing, found.link.index
    seen = Seen(
        attributes=found.attributes,
        link=found.link,
        addresses=addressing.read_addresses(index),
        routes=addressing.read_routes(index),
        neighbours=addressing.read_neighbours(index) if config.routed else (),
    )
    number = previous.interfaces.index(expected)
    yield from compare_attributes(config.attributes, seen.attributes)
    # Results before CNI 1.0.0 have no MTU.
    mtu = expected.mtu if expected.mtu is not None else config.mtu
    yield from compare_link(replace(expected, mtu=mtu), found.link)
    yield from compare_layer3(config, _of_interface(previous, number), seen)


def find_own(previous: Result, request: Request) -> ResultInterface | None:
    """Return what prevResult says of this attachment's interface. Pure."""
    named = (interface for interface in previous.interfaces if interface.name == request.attachment.ifname)
    return next((interface for interface in named if interface.sandbox == request.netns), None)


def _of_interface(previous: Result, number: int) -> Result:
    """Return the part of prevResult that is about one of its interfaces."""
    ips = tuple(ip for ip in previous.ips if ip.interface == number)
    return replace(previous, ips=ips)


def compare_attributes(wanted: VfAttributes, kept: VfAttributes) -> Iterator[str]:
    """Tell what the PF does not keep as the network wants it. Pure."""
    left = find_lacking(wanted, kept)
    if not left.is_empty:
        names = [part.name for part in fields(left) if getattr(left, part.name) is not None]
        now = VfAttributes(**{name: getattr(kept, name) for name in names})
        yield f"its PF has {str(now) or 'nothing'}, not {left}"


def compare_link(expected: ResultInterface, link: Link) -> Iterator[str]:
    """Tell how the link differs from what ADD, or a plugin after us, has answered. Pure."""
    if link.name != expected.name:
        yield f"its name is {link.name}"
    if expected.mac and expected.mac.lower() != str(link.mac):
        yield f"its MAC is {link.mac}, not {expected.mac}"
    if expected.mtu is not None and expected.mtu != link.mtu:
        yield f"its MTU is {link.mtu}, not {expected.mtu}"
    if not link.up:
        yield "it is down"


def compare_layer3(config: NetworkConfig, previous: Result, seen: Seen) -> Iterator[str]:
    """Tell which addresses, routes and neighbours are missing. Pure.

    Args:
        config: what is wanted.
        previous: prevResult, with the addresses of this interface only.
        seen: what is there.
    """
    found = {entry.address: entry for entry in seen.addresses}
    for ip in previous.ips:
        if ip.address not in found:
            yield f"address {ip.address} is missing"
        elif found[ip.address].duplicate:
            yield f"address {ip.address} is somebody else's, too"
    layer3 = plan_layer3(config.routed, previous) if config.routed else Layer3(routes=tuple(_own_routes(previous)))
    for route in layer3.routes:
        if not any(route.is_met_by(other) for other in seen.routes):
            via = "" if route.gateway is None else f" via {route.gateway}"
            yield f"route {route.to}{via} is missing"
    for neighbour in set(layer3.neighbours) - set(seen.neighbours):
        yield f"neighbour {neighbour.address} at {neighbour.mac} is missing"


def _own_routes(previous: Result) -> Iterator[Route]:
    """Give those routes of prevResult that lead through this interface's networks; others are other plugins'."""
    networks: list[Interface] = [ip.address for ip in previous.ips]
    for route in previous.routes:
        gateway = route.gateway
        if gateway is not None and any(gateway in interface.network for interface in networks):
            yield route
