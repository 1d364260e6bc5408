"""Decide what the switch lacks. Nothing here touches the world.

Ports and flows that are not ours are never named by a step: a port is ours by its `OWNER_KEY`, a flow by the first octet
of its cookie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from offload.flow import Flow, FlowKey
from offload.model import (
    Attachment,
    Bridge,
    BridgePort,
    BridgeWish,
    DpuState,
    Located,
    PortWish,
    SwitchSnapshot,
    Wiring,
)
from offload.rules import FlowsByOwner
from offload.step import AddFlow, ChangePort, DeleteFlow, EnsureBridge, FlowStep, RemovePort, SwitchStep
from sriov.errors import BusyError, DpuError, NotFoundError
from sriov.representor import Flavour, SwitchPort, choose_representor

PROTOCOLS = frozenset({"OpenFlow13", "OpenFlow14", "OpenFlow15"})

UPLINK_OWNER, TUNNEL_OWNER = "uplink", "tunnel"
TUNNEL_PORT = "dpukit-tunnel"

_UPLINK_OFPORT, _TUNNEL_OFPORT = 1, 2
_FIRST_VF_OFPORT = 0x100


@dataclass(frozen=True, slots=True)
class Refusal:
    """A wish that cannot be planned, and why; `owner` is the wish's."""

    owner: str
    error: DpuError


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """What to do to the database in one transaction, and what cannot be done."""

    steps: tuple[SwitchStep, ...]
    refusals: tuple[Refusal, ...]


# -- who is where ------------------------------------------------------------------------------------------------------


def locate(
    attachments: Iterable[Attachment], ports: Iterable[SwitchPort], *, switch_id: str | None
) -> tuple[Located, ...]:
    """Find each attachment's representor among the eswitch's `ports`."""
    ports = tuple(ports)
    found = []
    for attachment in attachments:
        try:
            representor = choose_representor(ports, attachment.vf, switch_id=switch_id)
        except DpuError as error:
            found.append(Located(attachment, problem=str(error)))
        else:
            found.append(Located(attachment, representor))
    return tuple(found)


def choose_uplink(ports: Iterable[SwitchPort], *, wanted: str, switch_id: str | None) -> str:
    """Return the uplink's network device: `wanted`, or with ``auto`` the one physical port there is.

    Raises:
        NotFoundError: there is no physical port.
        BusyError: there are several.
    """
    if wanted != "auto":
        return wanted
    physical = [port for port in ports if port.name.flavour is Flavour.PHYSICAL and switch_id in (None, port.switch_id)]
    if len(physical) == 1:
        return physical[0].netdev
    if physical:
        seen = ", ".join(f"{port.netdev} of switch {port.switch_id}" for port in physical)
        raise BusyError(
            "uplink",
            f"there are {len(physical)} uplinks: {seen}",
            hint="name one in the agent's configuration (uplink)",
        )
    raise NotFoundError(
        "uplink",
        "no physical port of an eswitch is in this namespace",
        hint="put the PF into switchdev mode, or name the device in the agent's configuration (uplink)",
    )


# -- ports -------------------------------------------------------------------------------------------------------------


def wish_ports(state: DpuState, located: Iterable[Located], *, uplink: str | None) -> tuple[PortWish, ...]:
    """Return the ports that should be in the bridge. Without an uplink the pods here can still talk to one another."""
    tunnel = state.network.tunnel
    options = {"key": "flow", "local_ip": str(tunnel.local), "remote_ip": "flow"}
    wishes = [PortWish(uplink, UPLINK_OWNER, ofport_request=_UPLINK_OFPORT)] if uplink else []
    wishes += [
        PortWish(
            TUNNEL_PORT,
            TUNNEL_OWNER,
            kind=tunnel.kind.value,
            options=tuple(sorted(options.items())),
            ofport_request=_TUNNEL_OFPORT,
        )
    ]
    wishes += [_wish_representor(place.attachment, place.representor) for place in located if place.representor]
    return tuple(wishes)


def _wish_representor(attachment: Attachment, representor: SwitchPort) -> PortWish:
    ids = {
        "attached_mac": str(attachment.mac),
        "iface-id": attachment.pod.replace("/", "_"),
        "ip_addresses": ",".join(str(interface) for interface in attachment.ips),
        "sandbox": attachment.sandbox_id,
        "vf-netdev-name": representor.netdev,
    }
    if attachment.pod_uid:
        ids["iface-id-ver"] = attachment.pod_uid
    return PortWish(
        representor.netdev,
        attachment.key,
        external_ids=tuple(sorted(ids.items())),
        ofport_request=_ofport_of(attachment),
    )


def _ofport_of(attachment: Attachment) -> int:
    """Ask for the same number for the same VF always, so that flows stay valid over restarts.

    A request only: 8 controllers of 4 PFs with 1024 VFs each have one of their own, and the switch's answer is read.
    """
    vf = attachment.vf
    return _FIRST_VF_OFPORT + ((vf.controller & 7) << 12 | (vf.pf & 3) << 10 | vf.vf & 1023)


def plan_switch(
    bridge: BridgeWish, wishes: Sequence[PortWish], snapshot: SwitchSnapshot, *, uplink_mac: str, keep: frozenset[str]
) -> SwitchPlan:
    """Return the steps from `snapshot` to `wishes`.

    Args:
        bridge: the bridge all ports go to.
        wishes: every port that should be there.
        snapshot: what is.
        uplink_mac: given to a bridge without a MAC address of its own, which would else change with its ports.
        keep: owners whose ports stay though nobody wishes them now (their representor is out of sight).
    """
    steps: list[SwitchStep] = []
    refusals = []
    lack = _bridge_lack(snapshot.bridge, hwaddr=uplink_mac)
    if lack:
        hwaddr = "" if snapshot.bridge and snapshot.bridge.hwaddr else uplink_mac
        steps.append(EnsureBridge(bridge.name, bridge.datapath_type, PROTOCOLS, hwaddr, lack))
    names = {wish.name for wish in wishes}
    steps += [
        RemovePort(bridge.name, port.name, f"nobody wants the port of {port.owner}")
        for port in snapshot.ports
        if port.bridge == bridge.name and port.owner and port.name not in names and port.owner not in keep
    ]
    for wish in wishes:
        existing = snapshot.find_port(wish.name)
        error = _obstacle(wish, existing, bridge=bridge.name)
        if error:
            refusals.append(Refusal(wish.owner, error))
            continue
        difference = _difference(wish, existing)
        if difference:
            steps.append(ChangePort(bridge.name, wish, difference))
    return SwitchPlan(tuple(steps), tuple(refusals))


def _bridge_lack(bridge: Bridge | None, *, hwaddr: str) -> str:
    if bridge is None:
        return "the bridge is absent"
    if bridge.fail_mode != "secure":
        return "the bridge would switch by itself (fail_mode)"
    if not bridge.protocols >= PROTOCOLS:
        return "the bridge does not speak OpenFlow 1.5"
    return "the bridge's MAC address would change with its ports" if hwaddr and not bridge.hwaddr else ""


def _obstacle(wish: PortWish, existing: BridgePort | None, *, bridge: str) -> DpuError | None:
    if existing is None:
        return None
    if existing.bridge != bridge:
        return BusyError(
            f"port {wish.name}",
            f"is in bridge {existing.bridge!r}, not in {bridge!r}",
            hint="take it out of that bridge",
        )
    if existing.owner is None and wish.owner != UPLINK_OWNER:
        return BusyError(
            f"port {wish.name}", f"is in bridge {bridge!r} already, and was not put there by dpukit", hint="take it out"
        )
    return None


def _difference(wish: PortWish, existing: BridgePort | None) -> str:
    if existing is None:
        return "the port is absent"
    if existing.owner is None:
        # An uplink that somebody put there: used as it is.
        return ""
    if existing.owner != wish.owner:
        return f"the port was that of {existing.owner}"
    if existing.kind != wish.kind or dict(wish.options) != dict(existing.options):
        return "its type or options differ"
    if wish.ofport_request != existing.ofport_request:
        return "its number differs"
    known = dict(existing.external_ids)
    different = sorted(key for key, value in wish.external_ids if known.get(key) != value)
    return f"its external ids differ: {', '.join(different)}" if different else ""


def wire(snapshot: SwitchSnapshot, wishes: Iterable[PortWish]) -> Wiring:
    """Return the numbers the switch gave to the ports that are in it."""
    numbers = {}
    for wish in wishes:
        port = snapshot.find_port(wish.name)
        if port is not None and port.ofport is not None and (port.owner or wish.owner) == wish.owner:
            numbers[wish.owner] = port.ofport
    uplink, tunnel = numbers.pop(UPLINK_OWNER, None), numbers.pop(TUNNEL_OWNER, None)
    return Wiring(uplink, tunnel, tuple(sorted(numbers.items())))


# -- flows -------------------------------------------------------------------------------------------------------------


def plan_flows(desired: FlowsByOwner, installed: Mapping[FlowKey, Flow]) -> tuple[FlowStep, ...]:
    """Return what makes the flows of ours in `installed` the `desired` ones; an unchanged flow is not touched.

    A flow that somebody else installed and that stands where ours should is replaced; every other one stays.
    """
    wanted = {flow.key: flow for flows in desired.values() for flow in flows}
    steps: list[FlowStep] = [DeleteFlow(flow) for key, flow in installed.items() if flow.is_ours and key not in wanted]
    steps += [AddFlow(flow) for key, flow in wanted.items() if installed.get(key) != flow]
    return tuple(steps)
