"""Questions to a real kernel, and to one that does not answer."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from sriov.errors import KernelError
from sriov.kernel.linkmessage import parse_link, render_question
from sriov.kernel.netlink import GENERIC, ROUTE, NetlinkSocket, find_family, generic, open_netlink

pytestmark = pytest.mark.netns
READ_LINK = 18


def test_a_question_has_one_answer_and_no_other_is_left_behind() -> None:
    with open_netlink(ROUTE, subject="test") as netlink:
        for _ in range(2):
            answer = netlink.ask(READ_LINK, render_question(name="lo"), operation="read lo")
            assert parse_link(answer.payload).name == "lo"
        with pytest.raises(KernelError) as caught:
            netlink.ask(READ_LINK, render_question(name="none"), operation="read it")
        assert caught.value.errno == errno.ENODEV
        assert any(
            parse_link(found.payload).name == "lo"
            for found in netlink.dump(READ_LINK, render_question(), operation="list")
        )


def test_a_family_that_is_not_there_is_none() -> None:
    with open_netlink(GENERIC, subject="test") as netlink:
        assert find_family(netlink, "nlctrl") == 16
        assert find_family(netlink, "no_such_family") is None


def test_an_answer_that_does_not_come_is_given_up() -> None:
    # A kernel that says nothing: whoever holds the other end only listens.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 1000))
        with pytest.raises(KernelError, match=r"test: kernel refused to ask: ETIMEDOUT .*\(the kernel is busy"):
            NetlinkSocket(ours, subject="test").ask(16, generic(99), operation="ask")


def test_an_acknowledgement_alone_is_no_answer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.send(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, 0))
        with pytest.raises(KernelError) as caught:
            NetlinkSocket(ours, subject="test").ask(16, b"", operation="ask")
        assert caught.value.errno == errno.ENODATA


@pytest.mark.parametrize("timeout_s", [1e-9, 0.001])
def test_the_shortest_time_is_not_for_ever(timeout_s: float) -> None:
    with open_netlink(ROUTE, subject="test", timeout_s=timeout_s) as netlink, pytest.raises(KernelError) as caught:
        # Nothing was sent, so nothing comes.
        next(netlink._replies("wait"))
    assert caught.value.errno == errno.ETIMEDOUT
