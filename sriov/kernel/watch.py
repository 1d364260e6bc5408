"""Wait for rtnetlink's news: a link came, went or changed; an address did.

Events carry a reason to look again, never a fact to rely on: too many at once are lost (ENOBUFS), which is a reason as
well. Groups: include/uapi/linux/rtnetlink.h, ``RTMGRP_*``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sriov.errors import KernelError
from sriov.kernel import netns as namespaces
from sriov.kernel.netlink import ROUTE

LINKS = 0x1
ADDRESSES = 0x10 | 0x100

Wait = Callable[[float], None]
"""Wait until there is news, or so many seconds have passed."""

_SHORTEST_S = 0.001
_READ_SIZE = 1 << 16


@contextmanager
def watch_rtnetlink(groups: int, *, netns: int | None = None) -> Iterator[Wait]:
    """Give a function that waits for news of these groups.

    Nothing that happens inside the block is missed: news that came before the call ends the wait at once. So look after
    the block has begun, wait, look again.

    Args:
        groups: `LINKS`, `ADDRESSES`, or both.
        netns: a descriptor of the namespace, stays the caller's; None: the calling thread's own.

    Raises:
        KernelError: the namespace cannot be entered, or gives no socket.
    """

    def subscribe() -> socket.socket:
        return _subscribe(groups)

    with subscribe() if netns is None else namespaces.run_in(netns, subscribe) as events:

        def wait(timeout_s: float) -> None:
            events.settimeout(max(timeout_s, _SHORTEST_S))
            with suppress(OSError):
                events.recv(1)
                # One change makes many messages, and one look answers them all.
                events.settimeout(0)
                while True:
                    events.recv(_READ_SIZE)

        yield wait


def _subscribe(groups: int) -> socket.socket:
    try:
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, ROUTE)
        try:
            events.bind((0, groups))
        except BaseException:
            events.close()
            raise
    except OSError as error:
        raise KernelError.from_oserror(error, subject="rtnetlink", operation="subscribe to its events") from error
    return events
