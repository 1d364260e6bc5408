"""Say of each attachment and class of traffic whether it runs in hardware, and if not, why. Pure.

A flow is in hardware when its TC rule says ``in_hw`` and so do all rules that lead to it: a rule behind a parent that is
in software never sees a packet in hardware.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from offload.datapath import DatapathFlow, TcRule
from offload.flow import ETH_IPV4, ETH_IPV6
from offload.model import Attachment, Located


class FlowClass(StrEnum):
    """The classes of traffic a verdict is given for."""

    POD_POD_LOCAL = "pod-pod-local"
    POD_POD_REMOTE = "pod-pod-remote"


class Verdict(StrEnum):
    """Where traffic runs. IDLE: no flow is there, so no traffic was seen lately. UNPLUGGED: it can have none."""

    HARDWARE = "hardware"
    SOFTWARE = "software"
    IDLE = "idle"
    UNPLUGGED = "unplugged"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of the switch and the kernel at one time.

    `tc_offload` is ``hw-tc-offload`` by device, without the devices that do not tell. `refusals` is what the driver said
    to rules that are not in hardware, by ufid. `recirculation` is None when not known.
    """

    flows: tuple[DatapathFlow, ...] = ()
    rules: Mapping[str, TcRule] = field(default_factory=dict)
    hw_offload: bool = True
    tc_offload: Mapping[str, bool] = field(default_factory=dict)
    recirculation: bool | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """The verdict on one attachment's traffic of one class: of `total` flows, `in_hw` run in hardware."""

    attachment: Attachment
    representor: str
    flow_class: FlowClass
    verdict: Verdict
    reason: str = ""
    in_hw: int = 0
    total: int = 0


def judge(located: Iterable[Located], facts: Facts) -> tuple[ClassVerdict, ...]:
    """Give the verdicts on every attachment, class by class."""
    located = tuple(located)
    representors = frozenset(place.representor.netdev for place in located if place.representor)
    hardware = find_in_hardware(facts)
    return tuple(
        _judge_one(place, flow_class, representors, facts, hardware) for place in located for flow_class in FlowClass
    )


def _judge_one(
    place: Located, flow_class: FlowClass, representors: frozenset[str], facts: Facts, hardware: frozenset[str]
) -> ClassVerdict:
    if place.representor is None or place.problem:
        netdev = place.representor.netdev if place.representor else ""
        return ClassVerdict(place.attachment, netdev, flow_class, Verdict.UNPLUGGED, place.problem)
    netdev = place.representor.netdev
    flows = [flow for flow in facts.flows if classify(flow, netdev, representors) is flow_class]
    slow = [flow for flow in flows if flow.ufid not in hardware]
    if not flows:
        return ClassVerdict(place.attachment, netdev, flow_class, Verdict.IDLE, "no traffic seen lately")
    if not slow:
        return ClassVerdict(place.attachment, netdev, flow_class, Verdict.HARDWARE, "", len(flows), len(flows))
    reason = "; ".join(dict.fromkeys(explain(flow, facts) for flow in slow))
    in_hw = len(flows) - len(slow)
    return ClassVerdict(place.attachment, netdev, flow_class, Verdict.SOFTWARE, reason, in_hw, len(flows))


def classify(flow: DatapathFlow, netdev: str, representors: frozenset[str]) -> FlowClass | None:
    """Say which class of the traffic of the representor `netdev` a flow carries; None when it carries none of it."""
    if flow.eth_type not in (ETH_IPV4, ETH_IPV6) or netdev not in (flow.in_port, *flow.outputs):
        return None
    if flow.is_from_tunnel or flow.is_to_tunnel:
        return FlowClass.POD_POD_REMOTE
    ends = {flow.in_port, *flow.outputs}
    return FlowClass.POD_POD_LOCAL if len(ends) > 1 and ends <= representors else None


def find_in_hardware(facts: Facts) -> frozenset[str]:
    """Return the ufids of the flows that hardware runs, counting a flow behind a recirculation only with its parents."""
    taken = {flow.ufid for flow in facts.flows if flow.ufid in facts.rules and facts.rules[flow.ufid].in_hw}
    parents: dict[int, list[str]] = {}
    for flow in facts.flows:
        for recirculation in flow.recirculates_to:
            parents.setdefault(recirculation, []).append(flow.ufid)
    while True:
        orphans = {
            flow.ufid
            for flow in facts.flows
            if flow.ufid in taken and flow.recirculation and not _all_in(parents.get(flow.recirculation, []), taken)
        }
        if not orphans:
            return frozenset(taken)
        taken -= orphans


def _all_in(parents: list[str], taken: set[str]) -> bool:
    return bool(parents) and all(parent in taken for parent in parents)


def explain(flow: DatapathFlow, facts: Facts) -> str:
    """Say why a flow is in software, as far as the facts tell."""
    rule = facts.rules.get(flow.ufid)
    switched_off = [port for port in (flow.in_port, *flow.outputs) if facts.tc_offload.get(port) is False]
    if not facts.hw_offload:
        return "hw-offload is off in Open vSwitch (set other_config:hw-offload=true and restart ovs-vswitchd)"
    if switched_off:
        return f"hw-tc-offload is off on {', '.join(switched_off)} (ethtool -K {switched_off[0]} hw-tc-offload on)"
    if rule is not None and rule.in_hw:
        return "a rule that leads to it is in software"
    if rule is not None:
        said = facts.refusals.get(flow.ufid)
        return f"the driver of {flow.in_port} refused the rule: {said}" if said else _refused_without_words(flow)
    if (flow.recirculation or flow.recirculates_to) and facts.recirculation is False:
        return "this kernel cannot offload connection tracking (CONFIG_NET_TC_SKB_EXT is off)"
    return (
        "Open vSwitch gave it to its own datapath and not to TC (its log says why, at level dbg of netdev_offload_tc)"
    )


def _refused_without_words(flow: DatapathFlow) -> str:
    return f"the driver of {flow.in_port} refused the rule, but takes it now: wait until Open vSwitch offers it again"
