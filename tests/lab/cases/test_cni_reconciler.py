"""The daemon's reconciler on real igb VFs: a pod that dies without DEL costs nobody a VF, and no time to speak of."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lab import netns
from tests.lab.model import Lab
from tests.lab.plugin import MAC, Plugin, daemon_of, installed
from tests.lab.vf import Pod, home_netdev, wait_for


@pytest.fixture(scope="module")
def served(lab: Lab, vfs: int) -> Iterator[Plugin]:
    plugin = installed(lab, Path("/run/cni-reconciled"))
    with daemon_of(plugin) as daemon:
        yield plugin
    assert daemon.returncode == 0
    shutil.rmtree(plugin.folder)


def is_home(served: Plugin, vf: int) -> bool:
    return home_netdev(served.host, vf) is not None


def test_a_vf_whose_pod_died_without_del_is_restored_when_the_kernel_sends_it_home(
    served: Plugin, make_pod: Callable[[str], Pod]
) -> None:
    before = {vf: served.state_of(vf) for vf in range(4)}
    home, restored = [], []
    for vf in before:
        make_pod(f"dying-{vf}")
        status, said = served.call("ADD", vf, f"dying-{vf}", container=f"c{vf}", mac=MAC, vlan=7, mtu=1400)
        assert status == 0, said
        netns.ip([f"netns del dying-{vf}"])
        began = time.monotonic()
        # The kernel's own time, and from when sysfs shows the VF. The VF may be restored before this sees it at home.
        wait_for(partial(is_home, served, vf), "the VF to come home", seconds=60)
        home.append(time.monotonic() - began)
        wait_for(lambda: not served.leftovers(), "the reconciler", seconds=60)
        restored.append(time.monotonic() - began)
    assert {vf: served.state_of(vf) for vf in before} == before
    for what, seconds in (("the VF at home", home), ("the restored VF", restored)):
        print(f"from the namespace's deletion to {what}:", ", ".join(f"{1000 * one:.0f} ms" for one in seconds))


def test_a_vf_that_was_renamed_and_given_a_second_name_in_the_pod_is_restored_all_the_same(
    served: Plugin, make_pod: Callable[[str], Pod]
) -> None:
    before = served.state_of(4)
    make_pod("dying-r")
    assert served.call("ADD", 4, "dying-r")[0] == 0
    netns.ip(
        ["link set net1 down", "link set net1 name mine", "link property add dev mine altname theirs"], netns="dying-r"
    )
    netns.ip(["netns del dying-r"])
    wait_for(lambda: not served.leftovers(), "the reconciler", seconds=60)
    assert served.state_of(4) == before


def test_the_next_pod_may_come_at_any_moment_of_it(served: Plugin, make_pod: Callable[[str], Pod]) -> None:
    before = served.state_of(5)
    for number in range(6):
        make_pod(f"next-{number}")
        wait_for(partial(is_home, served, 5), "the VF to come home", seconds=60)
        status, said = served.call("ADD", 5, f"next-{number}", container=f"n{number}", mtu=1300 + number)
        assert status == 0, said
        (link,) = netns.show("ip link show net1", netns=f"next-{number}")
        assert link["mtu"] == 1300 + number
        netns.ip([f"netns del next-{number}"])
    wait_for(lambda: not served.leftovers(), "the reconciler", seconds=60)
    assert served.state_of(5) == before
