"""The fake kernel of the plans' tests behaves as the real one: the same questions to both."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from sriov.errors import KernelError
from sriov.kernel.link import Links, open_rtnetlink
from sriov.link import Link, LinkChange
from sriov.model import MacAddress
from tests.fakes.links import HOME, POD, FakeKernel, FakeLinks

pytestmark = pytest.mark.netns

MAC = MacAddress.parse("0a:58:0a:00:00:02")


@dataclass
class World:
    """Two namespaces: at home the link vf0 (alternative name enp3), in the pod eth0 (alternative name alt)."""

    home: Links | FakeLinks
    pod: Links | FakeLinks
    home_netns: int
    pod_netns: int

    @property
    def vf(self) -> Link:
        link = self.home.find("enp3")
        assert link is not None
        return link


def _fake() -> World:
    kernel = FakeKernel()
    kernel.namespaces[HOME][5] = Link(5, "vf0", ("enp3",), MacAddress(bytes(6)), 1500, up=True, parent=None)
    kernel.namespaces[POD][9] = Link(9, "eth0", ("alt",), MacAddress(bytes(6)), 1500, up=False, parent=None)
    return World(FakeLinks(kernel, HOME), FakeLinks(kernel, POD), HOME, POD)


def _real(stack: ExitStack) -> World:
    links, descriptors = [], []
    for name, altname, state in (("vf0", "enp3", "up"), ("eth0", "alt", "down")):
        script = (
            f"ip link add {name} type veth peer name wire-{name} && ip link property add dev {name} altname {altname}"
        )
        script += f" && ip link set {name} {state} && echo && exec sleep 300"
        keeper = stack.enter_context(subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE))
        stack.callback(keeper.kill)
        assert keeper.stdout is not None
        if not keeper.stdout.readline():
            pytest.skip("cannot make network namespaces here")
        descriptor = os.open(f"/proc/{keeper.pid}/ns/net", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        links.append(Links(stack.enter_context(open_rtnetlink(subject="test", netns=descriptor))))
        descriptors.append(descriptor)
    return World(links[0], links[1], descriptors[0], descriptors[1])


@pytest.fixture(params=["fake", "real"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with ExitStack() as stack:
        yield _fake() if request.param == "fake" else _real(stack)


def refusal_of(action: object, *arguments: object, **keys: object) -> int:
    assert callable(action)
    with pytest.raises(KernelError) as caught:
        action(*arguments, **keys)
    return caught.value.errno


def test_a_link_is_found_by_every_name_and_its_number(world: World) -> None:
    assert world.home.find("vf0") == world.home.find("enp3") == world.home.find_index(world.vf.index) == world.vf
    assert (world.home.find("alt"), world.home.find_index(99)) == (None, None)


def test_a_move_renames_configures_and_keeps_alternative_names(world: World) -> None:
    world.home.move(world.vf.index, netns=world.pod_netns, change=LinkChange("net1", MAC, 1400, up=True))
    moved = world.pod.find("net1")
    assert moved is not None
    assert (moved.mac, moved.mtu, moved.up, moved.altnames) == (MAC, 1400, True, ("enp3",))
    assert world.home.find("vf0") is None


def test_a_link_that_is_up_arrives_down(world: World) -> None:
    world.home.move(world.vf.index, netns=world.pod_netns, change=LinkChange(name="net1"))
    moved = world.pod.find("net1")
    assert moved is not None
    assert moved.up is False


@pytest.mark.parametrize("name", ["eth0", "alt"])
def test_a_name_taken_over_there_is_refused_after_the_move(world: World, name: str) -> None:
    index = world.vf.index
    assert refusal_of(world.home.move, index, netns=world.pod_netns, change=LinkChange(name=name)) == errno.EEXIST
    left = world.pod.find("vf0")
    assert left is not None
    assert (left.name, world.home.find_index(index)) == ("vf0", None)


def test_a_name_that_is_its_own_alternative_one_is_refused_after_the_move(world: World) -> None:
    change = LinkChange(name="enp3")
    assert refusal_of(world.home.move, world.vf.index, netns=world.pod_netns, change=change) == errno.EEXIST
    assert world.pod.find("vf0") is not None


def test_an_alternative_name_taken_over_there_is_refused_before_the_move(world: World) -> None:
    world.home.add_altname(world.vf.index, "alt")
    change = LinkChange(name="net1")
    assert refusal_of(world.home.move, world.vf.index, netns=world.pod_netns, change=change) == errno.EEXIST
    assert world.vf.name == "vf0"


def test_the_old_name_taken_over_there_is_no_matter_when_there_is_a_new_one(world: World) -> None:
    eth0 = world.pod.find("eth0")
    assert eth0 is not None
    world.pod.change(eth0.index, LinkChange(name="vf0"))
    change = LinkChange()
    assert refusal_of(world.home.move, world.vf.index, netns=world.pod_netns, change=change) == errno.EEXIST
    world.home.move(world.vf.index, netns=world.pod_netns, change=LinkChange(name="net1"))
    assert world.pod.find("net1") is not None


def test_alternative_names_come_and_go_once(world: World) -> None:
    index = world.vf.index
    world.home.add_altname(index, "more")
    assert refusal_of(world.home.add_altname, index, "more") == errno.EEXIST
    world.home.drop_altname(index, "more")
    assert world.vf.altnames == ("enp3",)


def test_a_taken_name_is_refused_where_the_link_is(world: World) -> None:
    assert refusal_of(world.home.change, world.vf.index, LinkChange(name="enp3")) == errno.EEXIST


def test_a_link_that_is_not_there_cannot_be_changed(world: World) -> None:
    assert refusal_of(world.home.change, 99, LinkChange(up=True)) == errno.ENODEV
