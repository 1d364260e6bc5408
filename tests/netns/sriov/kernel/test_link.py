"""Links over real rtnetlink, with veth ends: reading, changing, the move, and what it leaves when it is refused."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sriov.errors import KernelError
from sriov.kernel.link import Links, open_rtnetlink, watch_links
from sriov.kernel.netns import run_in
from sriov.link import LinkChange, VfAttributes, VlanTag
from sriov.model import MacAddress

pytestmark = pytest.mark.netns
MAC = MacAddress.parse("0a:58:0a:00:00:02")


def _make() -> tuple[subprocess.Popen[bytes], int]:
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 300"], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    if not keeper.stdout.readline():
        keeper.wait()
        keeper.stdout.close()
        pytest.skip("cannot make network namespaces here")
    return keeper, os.open(f"/proc/{keeper.pid}/ns/net", os.O_RDONLY)


@pytest.fixture
def namespaces() -> Iterator[tuple[int, int]]:
    """Two namespaces; the first has the veth ends vf0 (with the alternative name enp3) and wire0."""
    made = [_make(), _make()]
    path = f"/proc/{made[0][0].pid}/ns/net"
    script = "ip link add vf0 type veth peer name wire0 && ip link property add dev vf0 altname enp3"
    subprocess.run(["nsenter", f"--net={path}", "sh", "-ec", script], check=True)
    yield made[0][1], made[1][1]
    for keeper, descriptor in made:
        os.close(descriptor)
        keeper.kill()
        keeper.wait()
        assert keeper.stdout is not None
        keeper.stdout.close()


@pytest.fixture
def links(namespaces: tuple[int, int]) -> Iterator[tuple[Links, Links]]:
    home, pod = (open_rtnetlink(subject="test", netns=netns) for netns in namespaces)
    with home as home_netlink, pod as pod_netlink:
        yield Links(home_netlink), Links(pod_netlink)


def test_a_link_is_found_by_each_of_its_names_and_by_its_number(links: tuple[Links, Links]) -> None:
    home, pod = links
    link = home.find("vf0")
    assert link is not None
    assert (link.name, link.altnames, link.mtu, link.up, link.parent) == ("vf0", ("enp3",), 1500, False, None)
    assert home.find("enp3") == home.find_index(link.index) == link
    assert link in home.read_all()
    assert (home.find("none"), home.find_index(4711), pod.find("vf0")) == (None, None, None)


def test_one_message_moves_renames_and_configures(links: tuple[Links, Links], namespaces: tuple[int, int]) -> None:
    home, pod = links
    link = home.find("vf0")
    assert link is not None
    home.move(link.index, netns=namespaces[1], change=LinkChange("net1", MAC, 1400, up=True))
    assert home.find("vf0") is None
    moved = pod.find("net1")
    assert moved is not None
    assert (moved.mac, moved.mtu, moved.up, moved.altnames) == (MAC, 1400, True, ("enp3",))


def test_a_name_taken_over_there_leaves_the_link_over_there(
    links: tuple[Links, Links], namespaces: tuple[int, int]
) -> None:
    """The trap that `Links.move` warns of."""
    home, pod = links
    link = home.find("vf0")
    assert link is not None
    with pytest.raises(KernelError) as caught:
        home.move(link.index, netns=namespaces[1], change=LinkChange(name="lo"))
    assert caught.value.errno == errno.EEXIST
    assert (home.find("vf0"), pod.find("vf0") is not None) == (None, True)


def test_a_link_is_changed_where_it_is(links: tuple[Links, Links]) -> None:
    home, _ = links
    link = home.find("vf0")
    assert link is not None
    home.change(link.index, LinkChange("new", MAC, 1300, up=True))
    home.drop_altname(link.index, "enp3")
    home.add_altname(link.index, "enp4")
    after = home.find_index(link.index)
    assert after is not None
    assert (after.name, after.mac, after.mtu, after.up, after.altnames) == ("new", MAC, 1300, True, ("enp4",))
    home.change(link.index, LinkChange(up=False))
    again = home.find_index(link.index)
    assert again is not None
    assert again.up is False


def test_a_refusal_is_told_in_the_kernels_words(links: tuple[Links, Links]) -> None:
    home, _ = links
    link = home.find("vf0")
    assert link is not None
    with pytest.raises(KernelError, match=r"set MTU 10 on link .* EINVAL .* it says 'mtu less than device minimum'"):
        home.change(link.index, LinkChange(mtu=10))


def test_a_device_without_vfs_says_so(links: tuple[Links, Links]) -> None:
    home, _ = links
    link = home.find("vf0")
    assert link is not None
    assert home.find_vf_attributes(link.index, 0) is None
    with pytest.raises(KernelError, match=r"set VLAN 5 .*, trust on of VF 0"):
        home.change_vf(link.index, 0, VfAttributes(vlan=VlanTag(5), trust=True))


def test_a_change_of_some_link_ends_the_wait(links: tuple[Links, Links], namespaces: tuple[int, int]) -> None:
    home, _ = links
    link = home.find("vf0")
    assert link is not None
    ready, waited = threading.Event(), threading.Event()

    def watch() -> None:
        with watch_links() as wait:
            ready.set()
            wait(30)
            waited.set()

    thread = threading.Thread(target=run_in, args=(namespaces[0], watch))
    thread.start()
    ready.wait()
    home.change(link.index, LinkChange(mtu=1400))
    assert waited.wait(10)
    thread.join()


def test_no_descriptor_is_left_open(namespaces: tuple[int, int]) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with open_rtnetlink(subject="test", netns=namespaces[0]) as netlink:
            Links(netlink).find("vf0")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
