"""Do the steps of a plan. Each may be repeated; what a crash leaves half done, restoring finds and finishes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from cni.observe import Pod, Workplace, read_attributes
from cni.plan import AddAltname, DropAltname, FoundVf, Layer3, Move, Place, SetLink, SetVf, Step
from sriov.errors import KernelError, NotFoundError
from sriov.kernel.link import Links
from sriov.link import VfAttributes


def apply_steps(steps: Iterable[Step], work: Workplace, found: FoundVf) -> tuple[Place, int]:
    """Do the steps, in order. Returns where the VF's device is then, and its link number there.

    Raises:
        KernelError: the kernel refused one; those before it are done, and of the refused one there may be parts.
        UnsupportedError: an attribute is to be set on a PF that has no device here.
    """
    index, place, name = found.link.index, found.place, found.link.name
    for step in steps:
        match step:
            case SetVf(change):
                apply_attributes(change, work)
            case DropAltname(altname):
                _links(work, place).drop_altname(index, altname)
            case AddAltname(altname):
                _links(work, place).add_altname(index, altname)
            case SetLink(change):
                _links(work, place).change(index, change)
                name = change.name or name
            case Move(to, change):
                _links(work, place).move(index, netns=_netns(work, to), change=change)
                place, name = to, change.name or name
                index = _read_index(_links(work, place), name)
            case _:
                assert_never(step)
    return place, index


def apply_attributes(change: VfAttributes, work: Workplace) -> None:
    """Have the PF keep these attributes of the VF.

    Raises:
        KernelError: its driver refused one, which is named; those before it are set.
        UnsupportedError: the PF has no device here.
    """
    try:
        work.home.change_vf(work.pf, work.vf.index, change)
    except KernelError as error:
        # The kernel sets one after the other and stops at the first refusal: it is the first that is not so.
        refused = change.difference(read_attributes(work))
        driver = f"the PF's driver is {work.pf_driver}" if work.pf_driver else ""
        hint = "; ".join(part for part in (error.hint, driver) if part)
        operation = f"set {next(iter(refused.phrases() or change.phrases()))} of VF {work.vf.index}"
        raise KernelError(error.subject, operation, error.errno, hint=hint, said=error.said) from error


def _links(work: Workplace, place: Place) -> Links:
    return work.home if place is Place.HOME else _pod(work).links


def _netns(work: Workplace, place: Place) -> int:
    return work.home_netns if place is Place.HOME else _pod(work).netns


def _pod(work: Workplace) -> Pod:
    if work.pod is None:
        raise AssertionError("a plan for a pod needs the pod's namespace")
    return work.pod


def _read_index(links: Links, name: str) -> int:
    # A link keeps its number in another namespace only if that is free there.
    link = links.find(name)
    if link is None:
        raise NotFoundError(f"link {name}", "vanished right after it was moved", hint="was its VF removed?")
    return link.index


def apply_layer3(layer3: Layer3, pod: Pod, index: int) -> None:
    """Give the link with this number its addresses, routes and neighbours.

    Raises:
        KernelError: the kernel refused one; those before it are there.
    """
    for address in layer3.addresses:
        pod.addressing.add_address(index, address, detect_duplicates=layer3.detect_duplicates)
    for neighbour in layer3.neighbours:
        pod.addressing.add_neighbour(index, neighbour)
    for route in layer3.routes:
        pod.addressing.add_route(index, route)
