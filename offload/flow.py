"""Flow rules as values: what a packet must look like, what is done to it, on whose behalf.

Fields and actions are those of Open vSwitch (ovs-fields(7), ovs-actions(7)) that the pipeline needs; values are plain
integers in network order. Two flows with equal table, priority and match are the same rule to the switch. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address

IN_PORT = 0xFFFFFFF8
LOCAL = 0xFFFFFFFE
_PORT_WORDS = {IN_PORT: "IN_PORT", LOCAL: "LOCAL"}

ETH_IPV4, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD

OWNERSHIP_MARK = 0xD0
"""The first octet of every cookie of ours."""

GENERATION = 1
"""The second octet: the generation of the cookie's own layout."""


class Form(Enum):
    """How a field's value is written."""

    NUMBER = "number"
    PORT = "port"
    MAC = "mac"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a packet or of the pipeline: its width in bits, how its value is written, its own whole name.

    `whole` is the name ``move`` wants: the one with brackets.
    """

    bits: int
    form: Form
    whole: str


FIELDS = {
    "in_port": Field(32, Form.PORT, ""),
    "reg0": Field(32, Form.NUMBER, "NXM_NX_REG0[]"),
    "tun_id": Field(64, Form.NUMBER, "NXM_NX_TUN_ID[]"),
    "tun_src": Field(32, Form.IPV4, "NXM_NX_TUN_IPV4_SRC[]"),
    "tun_dst": Field(32, Form.IPV4, "NXM_NX_TUN_IPV4_DST[]"),
    "tun_ipv6_src": Field(128, Form.IPV6, "NXM_NX_TUN_IPV6_SRC[]"),
    "tun_ipv6_dst": Field(128, Form.IPV6, "NXM_NX_TUN_IPV6_DST[]"),
    "eth_src": Field(48, Form.MAC, "NXM_OF_ETH_SRC[]"),
    "eth_dst": Field(48, Form.MAC, "NXM_OF_ETH_DST[]"),
    "eth_type": Field(16, Form.NUMBER, "NXM_OF_ETH_TYPE[]"),
    "ip_src": Field(32, Form.IPV4, "NXM_OF_IP_SRC[]"),
    "ip_dst": Field(32, Form.IPV4, "NXM_OF_IP_DST[]"),
    "ipv6_src": Field(128, Form.IPV6, "NXM_NX_IPV6_SRC[]"),
    "ipv6_dst": Field(128, Form.IPV6, "NXM_NX_IPV6_DST[]"),
    "arp_op": Field(16, Form.NUMBER, "NXM_OF_ARP_OP[]"),
    "arp_spa": Field(32, Form.IPV4, "NXM_OF_ARP_SPA[]"),
    "arp_tpa": Field(32, Form.IPV4, "NXM_OF_ARP_TPA[]"),
    "arp_sha": Field(48, Form.MAC, "NXM_NX_ARP_SHA[]"),
    "arp_tha": Field(48, Form.MAC, "NXM_NX_ARP_THA[]"),
}


@dataclass(frozen=True, order=True, slots=True)
class Term:
    """One field a packet must have, under a mask; `mask` is None when every bit counts."""

    field: str
    value: int
    mask: int | None = None

    def __str__(self) -> str:
        form = FIELDS[self.field].form
        value = render_value(form, self.value)
        return f"{self.field}={value}" if self.mask is None else f"{self.field}={value}/{render_value(form, self.mask)}"


Match = tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class SetField:
    """Write a value into a field."""

    field: str
    value: int

    def __str__(self) -> str:
        return f"set_field:{render_value(FIELDS[self.field].form, self.value)}->{self.field}"


@dataclass(frozen=True, slots=True)
class Move:
    """Copy one whole field into another of the same width."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"move:{FIELDS[self.source].whole}->{FIELDS[self.target].whole}"


@dataclass(frozen=True, slots=True)
class Output:
    """Send the packet out of a port (`IN_PORT` and `LOCAL` are ports too)."""

    port: int

    def __str__(self) -> str:
        return _PORT_WORDS.get(self.port) or f"output:{self.port}"


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Go on in a table, and come back."""

    table: int

    def __str__(self) -> str:
        return f"resubmit(,{self.table})"


@dataclass(frozen=True, slots=True)
class UnknownAction:
    """An action in the switch that no rule of ours has; it is never sent."""

    octets: bytes

    def __str__(self) -> str:
        return f"unknown({self.octets.hex()})"


Action = SetField | Move | Output | Resubmit | UnknownAction


class OwnerKind(IntEnum):
    """What kind of object a flow serves; the third octet of its cookie."""

    BASE = 1
    ATTACHMENT = 2
    PEER = 3


@dataclass(frozen=True, order=True, slots=True)
class Owner:
    """The object a flow serves."""

    kind: OwnerKind
    key: str = ""

    @property
    def cookie(self) -> int:
        """The flow cookie: mark and generation (16 bits), kind (8), a hash of the key (40).

        The hash lets a person list the flows of one object; nothing depends on it being without collisions.
        """
        digest = hashlib.blake2b(self.key.encode(), digest_size=5).digest()
        return OWNERSHIP_MARK << 56 | GENERATION << 48 | int(self.kind) << 40 | int.from_bytes(digest, "big")

    def __str__(self) -> str:
        return f"{self.kind.name.lower()} {self.key}".rstrip()


FlowKey = tuple[int, int, Match]


@dataclass(frozen=True, slots=True)
class Flow:
    """One rule. No action at all is a drop."""

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...]
    cookie: int

    @property
    def key(self) -> FlowKey:
        """What makes it one rule to the switch: a second flow with this key replaces the first."""
        return self.table, self.priority, self.match

    @property
    def is_ours(self) -> bool:
        """Whether its cookie bears our mark."""
        return self.cookie >> 56 == OWNERSHIP_MARK

    def __str__(self) -> str:
        terms = "".join(f",{term}" for term in self.match)
        actions = ",".join(str(action) for action in self.actions) or "drop"
        return f"table={self.table},priority={self.priority}{terms} actions={actions}"


def make_match(terms: Iterable[Term]) -> Match:
    """Bring terms into the one form and order the switch would show: no free bits, no empty masks."""
    found = {}
    for term in terms:
        whole = (1 << FIELDS[term.field].bits) - 1
        mask = whole if term.mask is None else term.mask & whole
        if mask:
            found[term.field] = Term(term.field, term.value & mask, None if mask == whole else mask)
    return tuple(found[name] for name in sorted(found))


def render_value(form: Form, value: int) -> str:
    """Write a field's value as ovs-ofctl reads it."""
    match form:
        case Form.MAC:
            return value.to_bytes(6, "big").hex(":")
        case Form.IPV4:
            return str(IPv4Address(value))
        case Form.IPV6:
            return str(IPv6Address(value))
        case Form.PORT:
            return _PORT_WORDS.get(value) or str(value)
        case Form.NUMBER:
            return f"{value:#x}"
