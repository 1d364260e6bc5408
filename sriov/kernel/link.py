"""Ask rtnetlink for links and change them: move, rename, up and down, MTU, MAC, and the attributes a PF keeps of its VFs.

Messages are coded by pyroute2, which is imported when the first one is needed: its import takes longer than a whole CNI
call. `NetlinkSocket` carries them and translates refusals. One RTM_SETLINK moves, renames, and sets MAC, MTU and up
(net/core/rtnetlink.c, ``do_setlink``, Linux 6.12). The kernel moves first: when it then refuses the rest, the link has
already moved. Whoever calls `Links.move` must look for it on both sides after an error.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sriov.errors import KernelError
from sriov.kernel import netns as namespaces
from sriov.kernel.netlink import CREATE, EXCLUSIVE, ROUTE, Message, NetlinkSocket, open_netlink
from sriov.link import Link, LinkChange, LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MacAddress

if TYPE_CHECKING:
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

_NEWLINK, _READ_LINK, _SETLINK, _NEW_LINK_PROPERTY, _DELETE_LINK_PROPERTY = 16, 18, 19, 108, 109

_LINK_GROUP = 1  # RTMGRP_LINK
_UP = 0x1  # IFF_UP, include/uapi/linux/if.h
_WITH_VFS, _WITHOUT_COUNTERS = 1, 8  # RTEXT_FILTER_VF and _SKIP_STATS, include/uapi/linux/rtnetlink.h
_ABSENT = (errno.ENODEV, errno.ENOENT)
_UNKNOWN = 0xFFFFFFFF  # what the kernel answers where a driver has no such switch (rtnl_fill_vfinfo)

_LINK_STATES = (LinkState.AUTO, LinkState.ENABLE, LinkState.DISABLE)
_PROTOCOLS = {0x8100: VlanProtocol.CUSTOMER, 0x88A8: VlanProtocol.SERVICE}
_PROTOCOL_NUMBERS = {protocol: number for number, protocol in _PROTOCOLS.items()}

_TIMEOUT_S = 60
"""How long one answer may take: all writers of a node queue for one kernel lock, and firmware may be behind it."""


@contextmanager
def open_rtnetlink(*, subject: str, netns: int | None = None) -> Iterator[NetlinkSocket]:
    """Give an rtnetlink socket of the namespace behind the descriptor `netns`; of the caller's own when None.

    Args:
        subject: the thing the work is about, for errors.
        netns: stays the caller's; the socket keeps the namespace alive until it is closed.

    Raises:
        KernelError: the namespace cannot be entered.
    """
    with ExitStack() as stack:

        def enter() -> NetlinkSocket:
            return stack.enter_context(open_netlink(ROUTE, subject=subject, timeout_s=_TIMEOUT_S))

        yield enter() if netns is None else namespaces.run_in(netns, enter)


@contextmanager
def watch_links() -> Iterator[Callable[[float], None]]:
    """Give a function that waits until a link of this namespace has changed, or so many seconds have passed.

    It does not tell what has happened: look. Nothing that happens inside the block, before the call, is missed.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, ROUTE) as events:
        events.bind((0, _LINK_GROUP))

        def wait(timeout_s: float) -> None:
            events.settimeout(max(timeout_s, 0.001))
            # Too many at once (ENOBUFS) is a reason to look as well.
            with suppress(OSError):
                events.recv(1)

        yield wait


def import_codec() -> None:
    """Import pyroute2 now rather than at the first message; for programs that stay."""
    _message()


class Links:
    """The links of one namespace.

    Args:
        netlink: a socket of that namespace; stays the caller's.
    """

    def __init__(self, netlink: NetlinkSocket) -> None:
        self._netlink = netlink

    # -- reading -------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Link | None:
        """Return the link that has `name` as its name or as one of its alternative names.

        Raises:
            KernelError: the kernel refused for another reason than that there is none.
        """
        message = _message()
        message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_EXT_MASK", _WITHOUT_COUNTERS)]
        found = self._find(message, operation=f"read link {name}")
        return None if found is None else _read_link(found)

    def find_index(self, index: int) -> Link | None:
        """Return the link with this number.

        Raises:
            KernelError: the kernel refused for another reason than that there is none.
        """
        message = _message(index)
        message["attrs"] = [("IFLA_EXT_MASK", _WITHOUT_COUNTERS)]
        found = self._find(message, operation=f"read link {index}")
        return None if found is None else _read_link(found)

    def read_all(self) -> tuple[Link, ...]:
        """Read every link of the namespace.

        Raises:
            KernelError: the kernel refused.
        """
        message = _message()
        message["attrs"] = [("IFLA_EXT_MASK", _WITHOUT_COUNTERS)]
        return tuple(
            _read_link(_decode(found))
            for found in self._netlink.dump(_READ_LINK, _encode(message), operation="list links")
        )

    def find_vf_attributes(self, pf: int, vf: int) -> VfAttributes | None:
        """Return what the PF with link number `pf` keeps about its VF number `vf`; None when it does not tell.

        Raises:
            KernelError: the kernel refused.
        """
        message = _message(pf)
        message["attrs"] = [("IFLA_EXT_MASK", _WITH_VFS | _WITHOUT_COUNTERS)]
        found = self._find(message, operation=f"read the attributes of VF {vf}")
        vfs = found.get_attr("IFLA_VFINFO_LIST") if found is not None else None
        for entry in vfs.get_attrs("IFLA_VF_INFO") if vfs is not None else ():
            if entry.get_attr("IFLA_VF_MAC")["vf"] == vf:
                return _read_vf(entry)
        return None

    def _find(self, message: ifinfmsg, *, operation: str) -> ifinfmsg | None:
        try:
            answer = self._netlink.request(_READ_LINK, _encode(message), operation=operation)
        except KernelError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return next((_decode(found) for found in answer if found.kind == _NEWLINK), None)

    # -- changing ------------------------------------------------------------------------------------------------------

    def change(self, index: int, change: LinkChange) -> None:
        """Change a link where it is.

        Raises:
            KernelError: the kernel refused; parts of the change may be done.
        """
        self._set_link(index, [], change, operation=f"{_phrase(change)} on link {index}")

    def move(self, index: int, *, netns: int, change: LinkChange) -> None:
        """Move a link into the namespace behind the descriptor `netns`, and change it there.

        The link arrives down unless `change` says up; it loses its addresses and routes. Its number stays if that is
        free over there.

        Raises:
            KernelError: the kernel refused; the link may have moved all the same.
        """
        operation = f"move link {index} and {_phrase(change)}"
        self._set_link(index, [("IFLA_NET_NS_FD", netns)], change, operation=operation)

    def add_altname(self, index: int, name: str) -> None:
        """Give a link one more name.

        Raises:
            KernelError: the kernel refused (EEXIST: some link has this name).
        """
        self._change_altname(_NEW_LINK_PROPERTY, index, name, operation=f"add the alternative name {name}")

    def drop_altname(self, index: int, name: str) -> None:
        """Take an alternative name away from a link.

        Raises:
            KernelError: the kernel refused.
        """
        self._change_altname(_DELETE_LINK_PROPERTY, index, name, operation=f"drop the alternative name {name}")

    def change_vf(self, pf: int, vf: int, change: VfAttributes) -> None:
        """Set attributes of VF number `vf` on the PF with link number `pf`, in one message.

        The kernel sets them one after the other (``do_setvfinfo``) and stops at the first refusal.

        Raises:
            KernelError: the driver refused one; those before it are set.
        """
        message = _message(pf)
        message["attrs"] = [("IFLA_VFINFO_LIST", {"attrs": [("IFLA_VF_INFO", {"attrs": _vf_entries(vf, change)})]})]
        self._netlink.request(_SETLINK, _encode(message), operation=f"set {_phrase_vf(change)} of VF {vf}")

    def _set_link(self, index: int, target: list[tuple[str, object]], change: LinkChange, *, operation: str) -> None:
        message = _message(index)
        message["attrs"] = [
            *target,
            *([("IFLA_IFNAME", change.name)] if change.name is not None else []),
            *([("IFLA_ADDRESS", str(change.mac))] if change.mac is not None else []),
            *([("IFLA_MTU", change.mtu)] if change.mtu is not None else []),
        ]
        if change.up is not None:
            message["flags"] = _UP if change.up else 0
            message["change"] = _UP
        self._netlink.request(_SETLINK, _encode(message), operation=operation)

    def _change_altname(self, kind: int, index: int, name: str, *, operation: str) -> None:
        message = _message(index)
        message["attrs"] = [("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", name)]})]
        flags = CREATE | EXCLUSIVE if kind == _NEW_LINK_PROPERTY else 0
        self._netlink.request(kind, _encode(message), operation=operation, flags=flags)


# -- coding ------------------------------------------------------------------------------------------------------------


def _message(index: int = 0) -> ifinfmsg:
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    message = ifinfmsg()
    message["index"] = index
    return message


_NETLINK_HEADER = struct.Struct("=IHHII")


def _encode(message: ifinfmsg) -> bytes:
    message.encode()
    # NetlinkSocket writes the netlink header itself.
    return bytes(message.data[_NETLINK_HEADER.size :])


def _decode(found: Message) -> ifinfmsg:
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    size = _NETLINK_HEADER.size + len(found.payload)
    message = ifinfmsg(_NETLINK_HEADER.pack(size, found.kind, 0, 0, 0) + found.payload)
    message.decode()
    return message


def _read_link(message: ifinfmsg) -> Link:
    properties = message.get_attr("IFLA_PROP_LIST")
    mac = message.get_attr("IFLA_ADDRESS")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        altnames=tuple(properties.get_attrs("IFLA_ALT_IFNAME")) if properties is not None else (),
        # Other kinds of link (InfiniBand, tunnels) have addresses of other lengths.
        mac=MacAddress.parse(mac) if mac and len(mac) == len("00:00:00:00:00:00") else None,
        mtu=message.get_attr("IFLA_MTU") or 0,
        up=bool(message["flags"] & _UP),
        parent=message.get_attr("IFLA_PARENT_DEV_NAME"),
    )


def _read_vf(entry: Any) -> VfAttributes:  # noqa: ANN401 - pyroute2 has no types
    def switch(kind: str, field: str) -> int | None:
        found = entry.get_attr(kind)
        return None if found is None or found[field] == _UNKNOWN else int(found[field])

    spoofchk, trust = switch("IFLA_VF_SPOOFCHK", "spoofchk"), switch("IFLA_VF_TRUST", "trust")
    state, rates = switch("IFLA_VF_LINK_STATE", "link_state"), entry.get_attr("IFLA_VF_RATE")
    return VfAttributes(
        mac=MacAddress.parse(entry.get_attr("IFLA_VF_MAC")["mac"]),
        vlan=_read_vlan(entry),
        spoofchk=None if spoofchk is None else bool(spoofchk),
        trust=None if trust is None else bool(trust),
        link_state=_LINK_STATES[state] if state is not None and state < len(_LINK_STATES) else None,
        rates=None if rates is None else Rates(rates["min_tx_rate"], rates["max_tx_rate"]),
    )


def _read_vlan(entry: Any) -> VlanTag | None:  # noqa: ANN401 - pyroute2 has no types
    tags = entry.get_attr("IFLA_VF_VLAN_LIST")
    tag = tags.get_attr("IFLA_VF_VLAN_INFO") if tags is not None else None
    if tag is not None:
        return VlanTag(tag["vlan"], tag["qos"], _PROTOCOLS.get(tag["proto"], VlanProtocol.CUSTOMER))
    tag = entry.get_attr("IFLA_VF_VLAN")
    return None if tag is None else VlanTag(tag["vlan"], tag["qos"])


def _vf_entries(vf: int, change: VfAttributes) -> list[tuple[str, object]]:
    entries: list[tuple[str, object]] = []
    if change.mac is not None:
        entries.append(("IFLA_VF_MAC", {"vf": vf, "mac": str(change.mac)}))
    if change.vlan is not None:
        entries.append(_vlan_entry(vf, change.vlan))
    if change.rates is not None:
        rates = {"vf": vf, "min_tx_rate": change.rates.minimum, "max_tx_rate": change.rates.maximum}
        entries.append(("IFLA_VF_RATE", rates))
    if change.spoofchk is not None:
        entries.append(("IFLA_VF_SPOOFCHK", {"vf": vf, "spoofchk": int(change.spoofchk)}))
    if change.link_state is not None:
        entries.append(("IFLA_VF_LINK_STATE", {"vf": vf, "link_state": _LINK_STATES.index(change.link_state)}))
    if change.trust is not None:
        entries.append(("IFLA_VF_TRUST", {"vf": vf, "trust": int(change.trust)}))
    return entries


def _vlan_entry(vf: int, tag: VlanTag) -> tuple[str, object]:
    fields: dict[str, object] = {"vf": vf, "vlan": tag.vlan, "qos": tag.qos}
    if tag.protocol is VlanProtocol.CUSTOMER:
        return "IFLA_VF_VLAN", fields
    fields["proto"] = _PROTOCOL_NUMBERS[tag.protocol]
    return "IFLA_VF_VLAN_LIST", {"attrs": [("IFLA_VF_VLAN_INFO", fields)]}


def _phrase(change: LinkChange) -> str:
    said = (
        f"name it {change.name}" if change.name is not None else "",
        f"set MAC {change.mac}" if change.mac is not None else "",
        f"set MTU {change.mtu}" if change.mtu is not None else "",
        {True: "set it up", False: "set it down"}.get(change.up, "") if change.up is not None else "",
    )
    return ", ".join(part for part in said if part) or "change nothing else"


def _phrase_vf(change: VfAttributes) -> str:
    said = (
        f"MAC {change.mac}" if change.mac is not None else "",
        f"VLAN {change.vlan.vlan} (qos {change.vlan.qos}, {change.vlan.protocol})" if change.vlan is not None else "",
        f"rates {change.rates.minimum} to {change.rates.maximum} Mbit/s" if change.rates is not None else "",
        f"spoofchk {_on(on=change.spoofchk)}" if change.spoofchk is not None else "",
        f"link state {change.link_state}" if change.link_state is not None else "",
        f"trust {_on(on=change.trust)}" if change.trust is not None else "",
    )
    return ", ".join(part for part in said if part)


def _on(*, on: bool) -> str:
    return "on" if on else "off"
