"""Switches of a device, in the namespace that a descriptor names and in no other."""

from __future__ import annotations

from typing import Protocol

import pytest

from sriov.errors import KernelError
from sriov.kernel.netns import run_in
from sriov.kernel.sysctl import ensure_switch, find_switch

pytestmark = pytest.mark.netns


class Place(Protocol):
    """What the fixture of this folder gives."""

    netns: int

    def run(self, *command: str) -> str: ...


def test_a_switch_is_read_and_written_in_the_devices_namespace(place: Place) -> None:
    assert find_switch("ipv6", "net1", "disable_ipv6", netns=place.netns) == 0
    place.run("sysctl", "-qw", "net.ipv6.conf.net1.disable_ipv6=1")
    assert ensure_switch("ipv6", "net1", "disable_ipv6", 0, netns=place.netns) is True
    assert ensure_switch("ipv6", "net1", "disable_ipv6", 0, netns=place.netns) is False
    assert place.run("sysctl", "-n", "net.ipv6.conf.net1.disable_ipv6").strip() == "0"
    # This process' own namespace has no such device, before and after.
    assert find_switch("ipv6", "net1", "disable_ipv6", netns=None) is None


def test_without_a_descriptor_it_is_the_calling_threads_namespace(place: Place) -> None:
    assert run_in(place.netns, lambda: find_switch("ipv4", "net1", "forwarding", netns=None)) is not None


def test_a_device_with_a_dot_in_its_name_has_its_own(place: Place) -> None:
    place.run("ip", "link", "set", "wire", "down")
    place.run("ip", "link", "set", "wire", "name", "net1.5")
    assert ensure_switch("ipv6", "net1.5", "disable_ipv6", 1, netns=place.netns)
    assert find_switch("ipv6", "net1.5", "disable_ipv6", netns=place.netns) == 1
    assert find_switch("ipv6", "net1", "disable_ipv6", netns=place.netns) == 0


def test_what_is_not_there_is_refused_by_name(place: Place) -> None:
    assert find_switch("ipv6", "net1", "no_such_switch", netns=place.netns) is None
    with pytest.raises(KernelError, match=r"link none: kernel refused to set disable_ipv6 to 0: ENOENT"):
        ensure_switch("ipv6", "none", "disable_ipv6", 0, netns=place.netns)


def test_a_value_out_of_range_is_refused(place: Place) -> None:
    with pytest.raises(KernelError, match=r"link net1: kernel refused to set hop_limit to 9999: EINVAL"):
        ensure_switch("ipv6", "net1", "hop_limit", 9999, netns=place.netns)
