"""Read the TC rules of a device, with what the hardware said to each; ask the driver again why it refused one.

Open vSwitch alone programs these rules. We read them, with a terse dump: flags and the action cookie, in which Open
vSwitch keeps the ufid of its flow (lib/tc.c). The one thing written is the probe of `explain_refusal`, in a chain that
nothing jumps to. Numbers: include/uapi/linux/pkt_cls.h, pkt_sched.h, rtnetlink.h (Linux 6.12).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from offload.datapath import TcRule
from sriov.errors import KernelError
from sriov.kernel.netlink import (
    CREATE,
    EXCLUSIVE,
    NESTED,
    ROUTE,
    NetlinkSocket,
    open_netlink,
    pack_attribute,
    pack_text,
    parse_attributes,
    read_number,
    read_text,
    walk_attributes,
)

_NEW, _DELETE, _READ = 44, 45, 46
_HEADER = struct.Struct("=BxxxiIII")
_INGRESS = 0xFFFFFFF2  # TC_H_CLSACT with TC_H_MIN_INGRESS
_KIND, _OPTIONS, _CHAIN, _DUMP_FLAGS = 1, 2, 11, 15
_TERSE = struct.pack("=II", 1, 1)

_FLOWER_ACTIONS, _FLOWER_FLAGS, _FLOWER_IN_HW_COUNT = 3, 22, 86
_SKIP_SOFTWARE, _IN_HW, _NOT_IN_HW, _VERBOSE = 1 << 1, 1 << 2, 1 << 3, 1 << 4

_ACTION_KIND, _ACTION_OPTIONS, _ACTION_COOKIE, _ACTION_FLAGS, _ACTION_HW_STATS = 1, 2, 6, 7, 8
_KEPT_OF_ACTION = (_ACTION_KIND, _ACTION_OPTIONS, _ACTION_FLAGS, _ACTION_HW_STATS)

# The attribute with `struct tc_action_common` first in it, per kind (include/uapi/linux/tc_act/).
_PARAMETERS = {"csum": (1,), "ct": (1,), "pedit": (2, 4), "police": (1,)}
_PARAMETERS_ELSE = (2,)

_SCRATCH_CHAIN = 0x0FFFFFFE
"""Where the probe goes: below the largest chain (28 bits) and far above Open vSwitch's own, which count up from 1."""


def read_rules(ifindex: int) -> tuple[TcRule, ...]:
    """Read every flower rule on the ingress of a device; none when it has no ingress qdisc.

    Raises:
        KernelError: the kernel refused.
    """
    with open_netlink(ROUTE, subject=f"device {ifindex}") as netlink:
        payload = _HEADER.pack(0, ifindex, 0, _INGRESS, 0) + pack_attribute(_DUMP_FLAGS, _TERSE)
        messages = netlink.dump(_READ, payload, operation="list TC rules")
    return tuple(rule for message in messages if (rule := parse_rule(message.payload)))


def parse_rule(payload: bytes) -> TcRule | None:
    """Read one rule of a dump; None when it is not flower's, or the head of a chain. Pure."""
    _family, ifindex, handle, _parent, both = _HEADER.unpack_from(payload)
    attributes = parse_attributes(payload[_HEADER.size :])
    if read_text(attributes.get(_KIND, b"")) != "flower" or _OPTIONS not in attributes or not handle:
        return None
    options = parse_attributes(attributes[_OPTIONS])
    flags = read_number(options.get(_FLOWER_FLAGS, b""))
    return TcRule(
        ifindex=ifindex,
        chain=read_number(attributes.get(_CHAIN, b"")),
        priority=both >> 16,
        protocol=both & 0xFFFF,
        handle=handle,
        ufid=_read_ufid(options.get(_FLOWER_ACTIONS, b"")),
        in_hw=bool(flags & _IN_HW),
        not_in_hw=bool(flags & _NOT_IN_HW),
        in_hw_count=read_number(options.get(_FLOWER_IN_HW_COUNT, b"")),
    )


def _read_ufid(actions: bytes) -> str:
    for _, action in walk_attributes(actions):
        cookie = parse_attributes(action).get(_ACTION_COOKIE)
        if cookie and len(cookie) <= 16:
            # Four numbers in the machine's own order, printed as a UUID (lib/uuid.h, UUID_FMT).
            digits = "".join(f"{part:08x}" for part in struct.unpack("=IIII", cookie.ljust(16, b"\0")))
            return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return ""


# -- why -------------------------------------------------------------------------------------------------------------


def explain_refusal(rule: TcRule) -> str:
    """Offer a refused rule to the driver again, out of the way; return what it says.

    The rule is offered for hardware only, then, where the device has no hardware of its own (a tunnel's), with the
    wish to be told (``TCA_CLS_FLAGS_VERBOSE``): such a device refuses the former without asking the driver.

    Returns:
        The driver's words, or the kernel's name for the error when it has none; empty when the driver takes the rule
        now, or the rule is gone.

    Raises:
        KernelError: the rule cannot be read, or the probe not be removed.
    """
    with open_netlink(ROUTE, subject=f"device {rule.ifindex}") as netlink:
        options = _find_options(netlink, rule)
        if options is None:
            return ""
        refusal = _offer(netlink, rule, make_probe(options, flags=_SKIP_SOFTWARE))
        if not isinstance(refusal, KernelError):
            return ""
        told = refusal.said or _offer(netlink, rule, make_probe(options, flags=_VERBOSE))
        return told if told and isinstance(told, str) else refusal.what.rpartition(": ")[2]


def _offer(netlink: NetlinkSocket, rule: TcRule, options: bytes) -> KernelError | str:
    """Add a rule in the scratch chain and remove it. Returns the refusal, or what was said though it was taken."""
    probe = pack_text(_KIND, "flower") + pack_attribute(_CHAIN, struct.pack("=I", _SCRATCH_CHAIN))
    header = _HEADER.pack(0, rule.ifindex, 1, _INGRESS, rule.priority << 16 | rule.protocol)
    added = header + probe + pack_attribute(_OPTIONS | NESTED, options)
    try:
        netlink.request(_NEW, added, flags=CREATE | EXCLUSIVE, operation="offer a rule to the hardware")
    except KernelError as error:
        return error
    said = netlink.warning
    netlink.request(_DELETE, header + probe, operation="remove the probe")
    return said


def _find_options(netlink: NetlinkSocket, rule: TcRule) -> bytes | None:
    header = _HEADER.pack(0, rule.ifindex, 0, _INGRESS, 0)
    chain = pack_attribute(_CHAIN, struct.pack("=I", rule.chain))
    for message in netlink.dump(_READ, header + chain, operation="read a TC rule"):
        found = parse_rule(message.payload)
        if found is not None and (found.chain, found.priority, found.handle) == (
            rule.chain,
            rule.priority,
            rule.handle,
        ):
            return parse_attributes(message.payload[_HEADER.size :])[_OPTIONS]
    return None


def make_probe(options: bytes, *, flags: int) -> bytes:
    """Make of a rule's options, as dumped, those of a new rule with these flags. Pure.

    What belongs to the installed rule is left out: its flags and counts, the cookies, statistics and numbers of its
    actions (a number would bind the new rule to the old one's actions).
    """
    parts = []
    for kind, value in walk_attributes(options):
        if kind == _FLOWER_ACTIONS:
            actions = b"".join(
                pack_attribute(order | NESTED, _renew(action)) for order, action in walk_attributes(value)
            )
            parts.append(pack_attribute(kind | NESTED, actions))
        elif kind not in (_FLOWER_FLAGS, _FLOWER_IN_HW_COUNT):
            parts.append(pack_attribute(kind, value))
    parts.append(pack_attribute(_FLOWER_FLAGS, struct.pack("=I", flags)))
    return b"".join(parts)


def _renew(action: bytes) -> bytes:
    attributes = parse_attributes(action)
    name = read_text(attributes.get(_ACTION_KIND, b""))
    parts = []
    for kind in _KEPT_OF_ACTION:
        if kind == _ACTION_OPTIONS and kind in attributes:
            parts.append(pack_attribute(kind | NESTED, b"".join(_without_index(attributes[kind], name))))
        elif kind in attributes:
            parts.append(pack_attribute(kind, attributes[kind]))
    return b"".join(parts)


def _without_index(options: bytes, action: str) -> Iterator[bytes]:
    for kind, value in walk_attributes(options):
        has_index = kind in _PARAMETERS.get(action, _PARAMETERS_ELSE)
        yield pack_attribute(kind, bytes(4) + value[4:] if has_index else value)
