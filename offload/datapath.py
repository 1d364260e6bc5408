"""Flows of the datapath as values, read from the text of ``dpctl/dump-flows -m --names``, and rules of TC. Pure.

Only what a verdict needs is read. The text is ovs-vswitchd's (lib/odp-util.c, lib/dpctl.c of Open vSwitch 3.1 to 3.5):
``ufid:…, <match>, packets:…, used:…, offloaded:…, dp:…, actions:…``. A line that is not of this form is counted, not
guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_UFID = re.compile(r"ufid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_PART = re.compile(r"([a-z_0-9]+)\((.*)\)", re.DOTALL)

# Actions without an argument; every other bare word is a port.
_WORDS = frozenset({"drop", "ct", "ct_clear", "pop_vlan", "pop_eth", "pop_nsh", "dec_ttl"})


@dataclass(frozen=True, slots=True)
class DatapathFlow:
    """One flow of the datapath.

    `layer` is who holds it: ``tc``, ``ovs`` (the kernel's own), or empty for another datapath. `offloaded` is what
    Open vSwitch believes: ``yes``, ``partial``, or empty.
    """

    ufid: str
    in_port: str
    recirculation: int
    eth_type: int | None
    is_from_tunnel: bool
    is_to_tunnel: bool
    outputs: tuple[str, ...]
    recirculates_to: tuple[int, ...]
    uses_ct: bool
    packets: int
    layer: str
    offloaded: str
    text: str


@dataclass(frozen=True, slots=True)
class DatapathDump:
    """All flows of a datapath, and how many lines could not be read."""

    flows: tuple[DatapathFlow, ...]
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class TcRule:
    """One flower rule on the ingress of a device.

    `ufid` names the datapath flow it was made from, as Open vSwitch writes it; empty when it is not Open vSwitch's.
    """

    ifindex: int
    chain: int
    priority: int
    protocol: int
    handle: int
    ufid: str
    in_hw: bool
    not_in_hw: bool
    in_hw_count: int


def parse_dump(text: str) -> DatapathDump:
    """Read the answer to ``dpctl/dump-flows -m --names``."""
    flows, unknown = [], 0
    for line in text.splitlines():
        if "actions:" not in line:
            continue
        flow = parse_flow(line)
        if flow is None:
            unknown += 1
        else:
            flows.append(flow)
    return DatapathDump(tuple(flows), unknown)


def parse_flow(line: str) -> DatapathFlow | None:
    """Read one line; None when it is not of the known form."""
    head, found, actions = line.strip().partition("actions:")
    ufid = _UFID.match(head)
    if not found or ufid is None:
        return None
    match, figures = _read_head(head[ufid.end() :])
    steps = list(split_top(actions))
    called = [(part[1], part[2]) for step in steps if (part := _PART.fullmatch(step))]
    try:
        return DatapathFlow(
            ufid=ufid[1],
            in_port=match["in_port"],
            recirculation=int(match.get("recirc_id", "0"), 0),
            eth_type=int(match["eth_type"].partition("/")[0], 0) if "eth_type" in match else None,
            is_from_tunnel="tunnel" in match,
            is_to_tunnel=any(name == "set" and argument.startswith("tunnel(") for name, argument in called),
            outputs=tuple(step for step in steps if not set(step) & set("(:") and step not in _WORDS),
            recirculates_to=tuple(int(argument, 0) for name, argument in called if name == "recirc"),
            uses_ct="ct" in steps
            or any(name == "ct" for name, _ in called)
            or _says_something(match.get("ct_state", "0/0")),
            packets=int(figures.get("packets", "0")),
            layer=figures.get("dp", ""),
            offloaded=figures.get("offloaded", ""),
            text=line.strip(),
        )
    except (KeyError, ValueError):
        return None


def _read_head(head: str) -> tuple[dict[str, str], dict[str, str]]:
    match, figures = {}, {}
    for part in split_top(head):
        called = _PART.fullmatch(part)
        if called:
            match[called[1]] = called[2]
        else:
            name, _, value = part.partition(":")
            figures[name] = value
    return match, figures


def _says_something(masked: str) -> bool:
    return masked.rpartition("/")[2] not in ("0", "0x0")


def split_top(text: str) -> Iterator[str]:
    """Split at the commas that are inside no parentheses; empty parts are left out."""
    depth, begin = 0, 0
    for place, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            if part := text[begin:place].strip():
                yield part
            begin = place + 1
    if part := text[begin:].strip():
        yield part
