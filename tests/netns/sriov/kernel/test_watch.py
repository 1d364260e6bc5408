"""News of a namespace ends a wait; nothing that came since the block began is missed, and old news does not end the next."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Protocol

import pytest

from sriov.errors import KernelError
from sriov.kernel.watch import ADDRESSES, LINKS, watch_rtnetlink

pytestmark = pytest.mark.netns
LONG_S = 30


class Place(Protocol):
    """What the fixture of this folder gives."""

    netns: int

    def run(self, *command: str) -> str: ...


def _waited_s(wait: object, timeout_s: float) -> float:
    assert callable(wait)
    began = time.monotonic()
    wait(timeout_s)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("groups", "command"),
    [
        (LINKS, "ip link set net1 mtu 1400"),
        (ADDRESSES, "ip address add 10.1.1.1/24 dev net1"),
        (ADDRESSES, "ip address add fd00::1/64 dev net1"),
        (LINKS | ADDRESSES, "ip link set net1 alias x"),
    ],
)
def test_news_from_before_the_wait_ends_it(place: Place, groups: int, command: str) -> None:
    with watch_rtnetlink(groups, netns=place.netns) as wait:
        place.run(*command.split())
        assert _waited_s(wait, LONG_S) < LONG_S


def test_one_wait_takes_all_the_news_there_is(place: Place) -> None:
    with watch_rtnetlink(LINKS, netns=place.netns) as wait:
        for mtu in range(1300, 1320):
            place.run("ip", "link", "set", "net1", "mtu", str(mtu))
        # The kernel may have more to say of a device that has just been made; one change after another comes to an end.
        waits = 0
        while _waited_s(wait, 0.5) < 0.5:
            waits += 1
            assert waits < 20


def test_a_wait_has_an_end(place: Place) -> None:
    with watch_rtnetlink(LINKS, netns=place.netns) as wait:
        deadline = time.monotonic() + LONG_S
        while _waited_s(wait, 0.05) < 0.05:
            assert time.monotonic() < deadline


def test_what_is_no_namespace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(KernelError) as caught, watch_rtnetlink(LINKS, netns=descriptor):
        raise AssertionError("must not be entered")
    os.close(descriptor)
    assert caught.value.errno == errno.EINVAL


def test_no_descriptor_is_left_open(place: Place) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with watch_rtnetlink(LINKS, netns=place.netns) as wait:
            wait(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
