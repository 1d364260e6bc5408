"""Ask rtnetlink for links and change them: move, rename, up and down, MTU, MAC, and the attributes a PF keeps of its VFs.

`sriov.kernel.linkmessage` has the messages, `NetlinkSocket` carries them and translates refusals. One RTM_SETLINK moves,
renames, and sets MAC, MTU and up (net/core/rtnetlink.c, ``do_setlink``, Linux 6.12). The kernel moves first: when it
then refuses the rest, the link has already moved. Whoever calls `Links.move` must look for it on both sides after an
error.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from sriov.errors import KernelError
from sriov.kernel import netns as namespaces
from sriov.kernel.linkmessage import (
    WITH_VFS,
    WITHOUT_COUNTERS,
    parse_link,
    parse_vf,
    render_altname,
    render_change,
    render_question,
    render_vf_change,
)
from sriov.kernel.netlink import CREATE, EXCLUSIVE, ROUTE, NetlinkSocket, open_netlink
from sriov.kernel.watch import LINKS, Wait, watch_rtnetlink
from sriov.link import Link, LinkChange, VfAttributes

_NEW_LINK, _READ_LINK, _SET_LINK, _NEW_LINK_PROPERTY, _DELETE_LINK_PROPERTY = 16, 18, 19, 108, 109

_ABSENT = (errno.ENODEV, errno.ENOENT)

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


def watch_links(netns: int | None = None) -> AbstractContextManager[Wait]:
    """Give a function that waits until a link of a namespace has changed, or so many seconds have passed.

    It does not tell what has happened: look. Nothing that happens inside the block, before the call, is missed.

    Args:
        netns: a descriptor of the namespace, stays the caller's; None: the calling thread's own.

    Raises:
        KernelError: the namespace cannot be entered.
    """
    return watch_rtnetlink(LINKS, netns=netns)


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
        found = self._find(render_question(name=name), operation=f"read link {name}")
        return None if found is None else parse_link(found)

    def find_index(self, index: int) -> Link | None:
        """Return the link with this number.

        Raises:
            KernelError: the kernel refused for another reason than that there is none.
        """
        found = self._find(render_question(index=index), operation=f"read link {index}")
        return None if found is None else parse_link(found)

    def read_all(self) -> tuple[Link, ...]:
        """Read every link of the namespace.

        Raises:
            KernelError: the kernel refused.
        """
        found = self._netlink.dump(_READ_LINK, render_question(), operation="list links")
        return tuple(parse_link(message.payload) for message in found)

    def find_vf_attributes(self, pf: int, vf: int) -> VfAttributes | None:
        """Return what the PF with link number `pf` keeps about its VF number `vf`; None when it does not tell.

        Raises:
            KernelError: the kernel refused.
        """
        question = render_question(index=pf, mask=WITH_VFS | WITHOUT_COUNTERS)
        found = self._find(question, operation=f"read the attributes of VF {vf}")
        return None if found is None else parse_vf(found, vf)

    def _find(self, question: bytes, *, operation: str) -> bytes | None:
        try:
            answer = self._netlink.ask(_READ_LINK, question, operation=operation)
        except KernelError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return answer.payload if answer.kind == _NEW_LINK else None

    # -- changing ------------------------------------------------------------------------------------------------------

    def change(self, index: int, change: LinkChange) -> None:
        """Change a link where it is.

        Raises:
            KernelError: the kernel refused; parts of the change may be done.
        """
        operation = f"{_phrase(change)} on link {index}"
        self._netlink.request(_SET_LINK, render_change(index, change), operation=operation)

    def move(self, index: int, *, netns: int, change: LinkChange) -> None:
        """Move a link into the namespace behind the descriptor `netns`, and change it there.

        The link arrives down unless `change` says up; it loses its addresses and routes. Its number stays if that is
        free over there.

        Raises:
            KernelError: the kernel refused; the link may have moved all the same.
        """
        operation = f"move link {index} and {_phrase(change)}"
        self._netlink.request(_SET_LINK, render_change(index, change, netns=netns), operation=operation)

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
        operation = f"set {change} of VF {vf}"
        self._netlink.request(_SET_LINK, render_vf_change(pf, vf, change), operation=operation)

    def _change_altname(self, kind: int, index: int, name: str, *, operation: str) -> None:
        flags = CREATE | EXCLUSIVE if kind == _NEW_LINK_PROPERTY else 0
        self._netlink.request(kind, render_altname(index, name), operation=operation, flags=flags)


# -- words -------------------------------------------------------------------------------------------------------------


def _phrase(change: LinkChange) -> str:
    said = (
        f"name it {change.name}" if change.name is not None else "",
        f"set MAC {change.mac}" if change.mac is not None else "",
        f"set MTU {change.mtu}" if change.mtu is not None else "",
        {True: "set it up", False: "set it down"}.get(change.up, "") if change.up is not None else "",
    )
    return ", ".join(part for part in said if part) or "change nothing else"
