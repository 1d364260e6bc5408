"""What containerd does besides the plain ADD and DEL: each of its habits, with the promise that no VF is lost to it.

The same cases run in the lab on real VFs, so nothing here knows what the devices are. That VFs are home, equal to what they
were, and that nothing is left, is checked after each case by the fixture `node`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from tests.e2e.node import Node
from tests.e2e.runtime import CACHE, begin_boot, power_cut, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def is_home(node: Node, vf: str) -> bool:
    return vf in node.devices.look()


def refused_pod(node: Node, vf: str) -> str:
    """Ask for a pod that the runtime does not get to make; return what it says."""
    with pytest.raises(grpc.RpcError) as refused:
        node.run_pod(vf)
    return str(refused.value)


def test_stop_and_remove_each_bring_a_del_and_so_do_their_repetitions(node: Node) -> None:
    vf = node.devices.vfs[0]
    sandbox = node.run_pod(vf)
    for _ in range(3):
        node.cri.stop_pod(sandbox)
        assert is_home(node, vf)
    node.cri.remove_pod(sandbox)
    node.cri.remove_pod(sandbox)
    first, *others = node.calls_for(sandbox, "DEL")
    assert (first.netns != "", first.has_result) == (True, True)
    assert others
    assert all((call.netns, call.has_result) == ("", False) for call in others)


def test_a_late_del_leaves_the_next_pod_its_vf(node: Node) -> None:
    vf = node.devices.vfs[0]
    first = node.run_pod(vf)
    node.cri.stop_pod(first)
    second = node.run_pod(vf)
    node.cri.remove_pod(first)
    assert node.calls_for(first, "DEL")[-1].netns == ""
    assert node.interface(second) is not None
    node.end_pod(second)


def test_del_comes_without_the_result_when_the_runtime_has_lost_it(node: Node) -> None:
    vf = node.devices.vfs[0]
    sandbox = node.run_pod(vf)
    forget_results()
    node.cri.stop_pod(sandbox)
    assert not any(call.has_result for call in node.calls_for(sandbox, "DEL"))
    assert is_home(node, vf)
    node.cri.remove_pod(sandbox)


def test_del_finds_the_vf_when_nobody_says_which(node: Node) -> None:
    """The meta-plugin has forgotten what it delegated: there is no deviceID."""
    vf = node.devices.vfs[0]
    sandbox = node.run_pod(vf)
    (node.folder / "memory" / sandbox).unlink()
    node.cri.stop_pod(sandbox)
    assert is_home(node, vf)
    node.cri.remove_pod(sandbox)


def test_del_comes_without_namespace_when_that_was_unmounted(node: Node) -> None:
    vf = node.devices.vfs[0]
    sandbox = node.run_pod(vf)
    (netns,) = {call.netns for call in node.calls_for(sandbox, "ADD")}
    node.devices.send_home(vf, netns)
    subprocess.run(["umount", netns], check=True)
    Path(netns).unlink()
    node.cri.stop_pod(sandbox)
    assert node.calls_for(sandbox, "DEL")[0].netns == ""
    wait_for(lambda: is_home(node, vf), "the VF to be home")
    node.cri.remove_pod(sandbox)


def test_a_sandbox_whose_process_died_keeps_its_vf_until_it_is_stopped(node: Node) -> None:
    vf = node.devices.vfs[0]
    sandbox = node.run_pod(vf)
    os.kill(node.cri.read_pod(sandbox).pid, signal.SIGKILL)
    wait_for(lambda: not node.cri.read_pod(sandbox).is_ready, "the runtime to notice")
    assert node.calls_for(sandbox, "DEL") == []
    assert not is_home(node, vf)
    node.end_pod(sandbox)


def test_add_is_killed_at_the_callers_deadline_and_del_comes_at_once(node: Node) -> None:
    """The address is still being looked for when both happen, and is found afterwards."""
    vf = node.devices.vfs[0]
    node.order("ipam-ADD", "wait")
    give_up = node.cri.start_pod(node.pod(vf))
    wait_for(lambda: node.has_begun("ipam-ADD"), "ADD to ask for an address")
    sandbox = node.calls()[-1].container
    assert node.record(sandbox) is not None
    give_up()
    wait_for(lambda: node.calls_for(sandbox, "DEL"), "the runtime to call DEL")
    with suppress(TimeoutError):  # Some DELs wait for the ADD, others need not: either is right
        wait_for(lambda: node.has_begun("ipam-DEL"), "DEL to release the address", seconds=3)
    node.order("go", "")
    wait_for(lambda: node.leftovers() == [], "everything to be undone")
    node.cancel_orders()
    node.end_pod(node.run_pod(vf))


def test_a_refused_add_is_followed_by_one_del_and_another_sandbox(node: Node) -> None:
    vf = node.devices.vfs[0]
    node.order("link-ADD", "refuse")
    assert "link ADD refused" in refused_pod(node, vf)
    failed = node.calls()[-1]
    assert (failed.verb, failed.has_result) == ("DEL", False)
    assert is_home(node, vf)
    node.cancel_orders()
    sandbox = node.run_pod(vf)
    assert sandbox != failed.container
    node.end_pod(sandbox)


def test_what_refuses_add_and_del_behind_ours_costs_no_vf(node: Node) -> None:
    """A plugin behind ours refuses both, so ours is not called for DEL. containerd 1.7 never calls it again; 1.6 does."""
    vf = node.devices.vfs[0]
    node.order("link-ADD", "refuse")
    node.order("link-DEL", "refuse")
    assert "link ADD refused" in refused_pod(node, vf)
    forgotten = node.calls()[-1]
    assert forgotten.verb == "ADD"
    assert not is_home(node, vf)
    assert [*node.cri.list_pods()] == [forgotten.container]
    node.devices.send_home(vf, forgotten.netns)
    with suppress(grpc.RpcError):
        node.end_pod(forgotten.container)
    node.cancel_orders()
    if node.cri.list_pods():
        node.end_pod(forgotten.container)
    else:
        assert node.calls()[-1] == forgotten
        let_the_daemon_look(node)
    wait_for(lambda: node.record(forgotten.container) is None and is_home(node, vf), "the VF to be found")
    forget_results()
    node.devices.settle()
    node.end_pod(node.run_pod(vf))


def test_what_no_del_ever_comes_for_is_found_by_the_reconciler(node: Node) -> None:
    """The runtime has lost its own folder: it knows of no pod, and calls for none."""
    vf, other = node.devices.vfs[:2]
    for each in (vf, other):
        (netns,) = (call.netns for call in node.calls_for(node.run_pod(each), "ADD"))
        node.devices.send_home(each, netns)
    forget_all_pods(node)
    let_the_daemon_look(node)
    wait_for(lambda: node.leftovers() == [], "the reconciler to find them")
    assert all(call.verb == "ADD" for call in node.calls())
    wait_for(lambda: is_home(node, vf) and is_home(node, other), "the VFs to be home")


def test_an_address_whose_plugin_died_and_then_refuses_is_released_by_the_reconciler(node: Node) -> None:
    """IPAM allocates, dies, and refuses to take it back; then the runtime loses its folder."""
    vf = node.devices.vfs[0]
    node.order("ipam-ADD", "die")
    node.order("ipam-DEL", "refuse")
    assert "IPAM moody" in refused_pod(node, vf)
    assert is_home(node, vf)
    forget_all_pods(node)
    node.cancel_orders()
    let_the_daemon_look(node)
    wait_for(lambda: node.leftovers() == [], "the reconciler to release the address")


def forget_all_pods(node: Node) -> None:
    """Take from the runtime all it knows: it calls for no pod of before any more."""
    with power_cut(node.runtime):
        shutil.rmtree(node.runtime.folder / "lib")
    assert node.cri.list_pods() == {}
    forget_results()


def let_the_daemon_look(node: Node) -> None:
    """Have a daemon there: the one that is looks by itself, a new one does at its start."""
    if node.daemon is None:
        node.start_daemon()


def forget_results() -> None:
    """Remove what libcni remembers of sandboxes that nobody took down: nobody else ever does."""
    for path in CACHE.glob("results/*"):
        path.unlink()


def test_pods_outlive_their_killed_runtime_and_are_ended_by_the_next(node: Node) -> None:
    vf = node.devices.vfs[0]
    sandbox = node.run_pod(vf)
    calls = len(node.calls())
    node.runtime.end(signal.SIGKILL)
    node.runtime.start()
    assert node.cri.read_pod(sandbox).is_ready
    assert node.interface(sandbox) is not None
    assert len(node.calls()) == calls
    node.cri.stop_pod(sandbox)
    assert node.calls_for(sandbox, "DEL")[0].has_result
    assert is_home(node, vf)
    node.cri.remove_pod(sandbox)


def test_after_a_power_cut_dels_of_the_last_boot_leave_the_pods_of_this_one_alone(node: Node) -> None:
    vf, other = node.devices.vfs[:2]
    old, lost = node.run_pod(vf), node.run_pod(other)
    had_daemon = node.daemon is not None
    node.end_daemon(signal.SIGKILL)
    with power_cut(node.runtime):
        node.devices.lose_power()
        begin_boot(node.folder, "6f0d9e0c-0000-4000-8000-0000000000e2")
    node.home = node.devices.look()
    if had_daemon:
        node.start_daemon()
    new = node.run_pod(vf)
    assert not node.cri.read_pod(old).is_ready
    for sandbox in (old, lost):
        node.end_pod(sandbox)
        first, *_ = node.calls_for(sandbox, "DEL")
        assert (first.netns, first.has_result) == ("", True)
    assert node.interface(new) is not None
    assert is_home(node, other)
    node.end_pod(new)


def test_a_removed_network_configuration_holds_pods_up_and_loses_none(node: Node) -> None:
    vf, other = node.devices.vfs[:2]
    sandbox = node.run_pod(vf)
    calls = len(node.calls())
    node.withdraw_network()
    wait_for(lambda: not node.cri.is_network_ready(), "the runtime to notice")
    assert "cni plugin not initialized" in refused_pod(node, other)
    with pytest.raises(grpc.RpcError):
        node.cri.stop_pod(sandbox)
    assert len(node.calls()) == calls
    assert not is_home(node, vf)
    node.offer_network()
    wait_for(node.cri.is_network_ready, "the runtime to notice")
    node.cri.stop_pod(sandbox)
    assert is_home(node, vf)
    for left in node.cri.list_pods():  # containerd 1.6 keeps the refused one, too
        node.end_pod(left)


def test_killing_the_daemon_with_pods_up_and_starting_none_loses_nothing(node: Node) -> None:
    vf = node.devices.vfs[0]
    sandbox = node.run_pod(vf)
    node.end_daemon(signal.SIGKILL)
    node.cri.stop_pod(sandbox)
    assert is_home(node, vf)
    node.cri.remove_pod(sandbox)
