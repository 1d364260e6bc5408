"""Read all that verdicts need, once: representors, ports, datapath flows, TC rules, and what drivers say to refused ones."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from offload.datapath import DatapathFlow, TcRule
from offload.feature import find_recirculation_sharing, find_tc_offload
from offload.flower import explain_refusal, read_rules
from offload.model import BridgeWish, DpuState, Located, SwitchSnapshot
from offload.observe import read_switch_ports
from offload.plan import locate
from offload.verdict import ClassVerdict, Facts, judge
from offload.vswitch.database import open_database
from offload.vswitch.datapath import read_datapath
from sriov.kernel.sysfs import Sysfs

EXPLAIN_MOST = 16
"""How many refused rules a driver is asked about; with a full table there may be thousands, all with one answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where to look: Open vSwitch's database and run directory, the bridge, the eswitch."""

    ovsdb: str
    run_dir: Path
    bridge: BridgeWish
    switch_id: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """The verdicts, and how many datapath flows could not be read."""

    verdicts: tuple[ClassVerdict, ...]
    unknown_flows: int


def read_status(state: DpuState, place: Place, *, sysfs: Sysfs) -> Status:
    """Read the verdict on every attachment of `state`.

    Raises:
        UnreachableError: Open vSwitch does not answer.
        KernelError: the kernel refused.
    """
    with open_database(place.ovsdb) as database:
        snapshot = database.read_switch(place.bridge.name)
    located = locate(state.attachments, read_switch_ports(sysfs), switch_id=place.switch_id)
    located = tuple(_check_plugged(one, snapshot, bridge=place.bridge.name) for one in located)
    datapath_type = snapshot.bridge.datapath_type if snapshot.bridge else place.bridge.datapath_type
    dump = read_datapath(place.run_dir, datapath_type)
    return Status(judge(located, read_facts(dump.flows, snapshot)), dump.unknown)


def read_facts(flows: tuple[DatapathFlow, ...], snapshot: SwitchSnapshot) -> Facts:
    """Read what the kernel has on these flows.

    Raises:
        KernelError: the kernel refused.
    """
    rules = _read_rules({flow.in_port for flow in flows})
    ports = {
        port
        for flow in flows
        for port in (flow.in_port, *flow.outputs)
        if flow.ufid not in rules or rules[flow.ufid].not_in_hw
    }
    asked = {port: on for port in ports if (on := find_tc_offload(port)) is not None and _is_own(port, snapshot)}
    return Facts(
        flows=flows,
        rules=rules,
        hw_offload=snapshot.hw_offload,
        tc_offload=asked,
        recirculation=find_recirculation_sharing(),
        refusals=_read_refusals(rules),
    )


def _is_own(port: str, snapshot: SwitchSnapshot) -> bool:
    """Tell whether a device is one whose switch for offload counts: not the bridge's own, nor the tunnel's."""
    found = snapshot.find_port(port)
    return found is not None and not found.kind


def _read_rules(netdevs: Iterable[str]) -> dict[str, TcRule]:
    rules = {}
    for netdev in netdevs:
        try:
            ifindex = socket.if_nametoindex(netdev)
        except OSError:
            # A port of a datapath that is not the kernel's, or gone by now.
            continue
        rules.update({rule.ufid: rule for rule in read_rules(ifindex) if rule.ufid})
    return rules


def _read_refusals(rules: Mapping[str, TcRule]) -> dict[str, str]:
    refused = [rule for rule in rules.values() if rule.not_in_hw]
    return {rule.ufid: said for rule in refused[:EXPLAIN_MOST] if (said := explain_refusal(rule))}


def _check_plugged(place: Located, snapshot: SwitchSnapshot, *, bridge: str) -> Located:
    if place.representor is None:
        return place
    port = snapshot.find_port(place.representor.netdev)
    if port is None or port.bridge != bridge:
        return dataclasses.replace(
            place, problem=f"its representor {place.representor.netdev} is not in bridge {bridge}"
        )
    if port.error:
        return dataclasses.replace(place, problem=f"Open vSwitch cannot use port {port.name}: {port.error}")
    return place
