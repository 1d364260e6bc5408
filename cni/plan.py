"""Decide what an ADD has to do, and what it takes to bring a VF home. Nothing here touches the machine.

Order of the MAC address' two places. Some drivers (igb) let a VF choose its own address only while its PF has set none;
others reset the VF when the PF sets one. So what the PF has set is cleared first, then the VF takes its address in
the message that moves it, and only then the PF is told the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_interface, ip_network
from typing import TypeVar

from cni.attachment import Home
from cni.network import NetworkConfig, RoutedMode
from cni.result import Result, ResultIp
from sriov.document import Address, Interface, Network
from sriov.link import Link, LinkChange, Neighbour, Route, VfAttributes
from sriov.model import MacAddress, PciAddress

T = TypeVar("T")

_NO_MAC = MacAddress(bytes(6))
_LINK_SCOPE = 253  # RT_SCOPE_LINK, include/uapi/linux/rtnetlink.h
_EVERYTHING: Mapping[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class Place(StrEnum):
    """Where a VF's network device is."""

    HOME = "home"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class SetVf:
    """Set attributes of the VF on its PF."""

    change: VfAttributes


@dataclass(frozen=True, slots=True)
class DropAltname:
    """Take an alternative name from the link, where it is."""

    name: str


@dataclass(frozen=True, slots=True)
class AddAltname:
    """Give the link an alternative name, where it is."""

    name: str


@dataclass(frozen=True, slots=True)
class SetLink:
    """Change the link where it is."""

    change: LinkChange


@dataclass(frozen=True, slots=True)
class Move:
    """Take the link to the other place, and change it there."""

    to: Place
    change: LinkChange


Step = SetVf | DropAltname | AddAltname | SetLink | Move


@dataclass(frozen=True, slots=True)
class FoundVf:
    """A VF as it is now: its device, where that is, and what the PF keeps of it."""

    link: Link
    place: Place
    attributes: VfAttributes


@dataclass(frozen=True, slots=True)
class UserspaceVf:
    """A VF that its driver hands to a program as a PCI function: it has no network device, and nothing moves."""

    driver: str
    attributes: VfAttributes


def plan_add(
    found: FoundVf, config: NetworkConfig, *, ifname: str, taken: frozenset[str] = frozenset()
) -> tuple[Step, ...]:
    """Return, in order, the steps that bring a VF from home into the pod as the network wants it.

    Args:
        found: the VF, at home.
        config: what is wanted.
        ifname: the name in the pod; free there.
        taken: those of the link's alternative names that are in use in the pod.
    """
    mac = _differs(config.mac, found.link.mac)
    wanted = config.attributes.difference(found.attributes)
    in_the_way = mac is not None and found.attributes.mac is not None and not found.attributes.mac.is_zero
    # A PF that shows no such attribute is not asked to keep one; the VF's own address is what counts.
    kept = None if found.attributes.mac is None else (config.mac if in_the_way else wanted.mac)
    steps: list[Step] = [
        SetVf(replace(wanted, mac=_NO_MAC if in_the_way else None)),
        *(DropAltname(name) for name in sorted((taken | {ifname}) & set(found.link.altnames))),
        Move(Place.POD, LinkChange(name=ifname, mac=mac, mtu=_differs(config.mtu, found.link.mtu), up=True)),
        SetVf(VfAttributes(mac=kept)),
    ]
    return _without_nothing(steps)


def find_lacking(wanted: VfAttributes, kept: VfAttributes) -> VfAttributes:
    """Return what a PF does not keep of a VF though it should."""
    # A PF that shows no MAC address for its VFs keeps none; the VF's own is what counts.
    return replace(wanted, mac=wanted.mac if kept.mac else None).difference(kept)


def plan_restore(
    found: FoundVf, home: Home, attributes: VfAttributes, *, refuge: str | None = None
) -> tuple[Step, ...]:
    """Return, in order, the steps that make a VF again what it was; none when it is.

    Args:
        found: the VF, wherever it is.
        home: how its device was.
        attributes: what its PF kept of it.
        refuge: a name to take when somebody else has the old one now; it is restored all the same.
    """
    link, name = found.link, refuge or home.name
    change = LinkChange(
        name=_differs(name, link.name),
        mac=_differs(home.mac, link.mac),
        mtu=_differs(home.mtu, link.mtu),
        up=_differs(home.up, link.up and found.place is Place.HOME),
    )
    wanted = attributes.difference(found.attributes)
    steps: list[Step] = []
    if change.mac is not None and attributes.mac is not None:
        in_the_way = found.attributes.mac is not None and not found.attributes.mac.is_zero
        steps.append(SetVf(VfAttributes(mac=_NO_MAC if in_the_way else None)))
        wanted = replace(wanted, mac=None)
    # The kernel refuses a name that is among the link's own alternative ones, after it has moved the link.
    steps.extend(DropAltname(old) for old in link.altnames if old not in home.altnames or old == name)
    steps.extend(_come_home(found, change))
    steps.append(SetVf(wanted))
    steps.extend(AddAltname(old) for old in home.altnames if old not in link.altnames)
    return _without_nothing(steps)


def _come_home(found: FoundVf, change: LinkChange) -> list[Step]:
    if found.place is Place.POD:
        return [Move(Place.HOME, change)]
    if found.link.up and (change.name is not None or change.mac is not None):
        # Kernels before 6.2 rename no link that is up, and some drivers change no address then.
        up = found.link.up if change.up is None else change.up
        return [SetLink(LinkChange(up=False)), SetLink(replace(change, up=up or None))]
    return [SetLink(change)]


def name_refuge(vf: PciAddress) -> str:
    """Name a VF's device after its PCI address, for when its own name is somebody else's."""
    return f"vf{vf.domain & 0xFFFF:04x}{vf.bus:02x}{vf.device:02x}{vf.function}"


def _differs(wanted: T | None, now: object) -> T | None:
    return wanted if wanted != now else None


def _without_nothing(steps: list[Step]) -> tuple[Step, ...]:
    def does_something(step: Step) -> bool:
        return not (isinstance(step, SetVf | SetLink) and step.change.is_empty)

    return tuple(step for step in steps if does_something(step))


# -- the network layer -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layer3:
    """The addresses, routes and neighbours a pod's link gets, in the order in which they can be added."""

    addresses: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    detect_duplicates: bool = True


def plan_layer3(routed: RoutedMode | None, addresses: Result) -> Layer3:
    """Decide what the pod's link gets, from the network and from what IPAM gave."""
    if routed is None:
        return _plan_bridged(addresses)
    versions = sorted({ip.address.version for ip in addresses.ips})
    default = tuple(_EVERYTHING[version] for version in versions)
    to = default if routed.to is None else routed.to
    return Layer3(
        addresses=tuple(_host_address(ip.address) for ip in addresses.ips),
        routes=(
            *(Route(_host_network(routed.gateway_of(version))) for version in versions),
            *(Route(network, routed.gateway_of(network.version), mtu=routed.mtu) for network in to),
        ),
        neighbours=tuple(Neighbour(routed.gateway_of(version), routed.gateway_mac) for version in versions),
        # The host address is nobody else's, and nobody on this link would answer the question.
        detect_duplicates=False,
    )


def _host_network(address: Address) -> Network:
    return ip_network(address)


def _host_address(address: Interface) -> Interface:
    return ip_interface(address.ip)


def _plan_bridged(addresses: Result) -> Layer3:
    gateways = {ip.address.version: ip.gateway for ip in reversed(addresses.ips) if ip.gateway is not None}
    routes = tuple(
        # A route whose scope is the link or less leads to neighbours: the kernel takes no gateway with it.
        route
        if route.gateway is not None or (route.scope or 0) >= _LINK_SCOPE
        else replace(route, gateway=gateways.get(route.to.version))
        for route in addresses.routes
    )
    return Layer3(addresses=tuple(ip.address for ip in addresses.ips), routes=routes)


def render_ips(layer3: Layer3, routed: RoutedMode | None, addresses: Result, *, interface: int) -> tuple[ResultIp, ...]:
    """Say in the result's words which addresses interface number `interface` of the result has."""
    given = zip(layer3.addresses, addresses.ips, strict=True)
    return tuple(
        ResultIp(address, routed.gateway_of(address.version) if routed else ip.gateway, interface)
        for address, ip in given
    )


def render_routes(layer3: Layer3, routed: RoutedMode | None) -> tuple[Route, ...]:
    """Say in the result's words which routes the pod has; the routed mode's way to its gateway is its own matter."""
    return layer3.routes if routed is None else tuple(route for route in layer3.routes if route.gateway is not None)
