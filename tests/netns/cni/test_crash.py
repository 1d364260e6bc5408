"""A worker is killed after each single step of ADD and of DEL; whatever is done then brings the VF home and leaves nothing."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from cni.perform import Caller, perform, read_node
from cni.restore import Node as Machine
from tests import crashing
from tests.netns.cni.conftest import IPAM_PATH, Namespace, Node
from tests.netns.cni.livesysfs import LiveSysfs
from tests.reconciling import reconcile

pytestmark = [
    pytest.mark.netns,
    pytest.mark.forks,
    pytest.mark.usefixtures("ipam"),
    pytest.mark.skipif(not crashing.is_possible(), reason="system calls of this machine are not known"),
    pytest.mark.timeout(300),
]


# Still at work when its caller is dead; and Debian's knows no GC.
SLOW = f"""#!/bin/sh
case $CNI_COMMAND in ADD) sleep 0.1 ;; GC) exit 0 ;; esac
exec {IPAM_PATH}/host-local
"""
# Has no address to give, when all else is done.
EMPTY = f"""#!/bin/sh
case $CNI_COMMAND in ADD) sleep 0.1; exit 1 ;; GC) exit 0 ;; esac
exec {IPAM_PATH}/host-local
"""


@dataclass(frozen=True)
class Bench:
    """One VF, the network it is wanted for, and the ways to call the plugin about it."""

    node: Node
    config: Mapping[str, object]

    def enter(self) -> Machine:
        """Go home, for good, and say what the machine is there."""
        crashing.enter_netns(self.node.home.path)
        machine = read_node(sysfs=self.node.sysfs.root, state=self.node.state)
        return replace(machine, sysfs=LiveSysfs(self.node.sysfs.root))

    def perform(
        self, machine: Machine, verb: str, *, container: str = "c1", netns: str = "", ipam: str = "slow", **more: object
    ) -> Mapping[str, object]:
        """Perform one call; what it answered, or nothing."""
        environment = {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "net1", "CNI_PATH": str(self.node.folder / ipam),
            "CNI_NETNS": netns, "PATH": os.environ["PATH"],
        }  # fmt: skip
        stdin = json.dumps({**self.config, **more}).encode()
        try:
            descriptor = os.open(netns, os.O_RDONLY)
        except OSError:
            descriptor = None
        answer = perform(Caller(environment, stdin, descriptor), machine)
        said: Mapping[str, object] = json.loads(answer.text or b"{}")
        assert answer.status == int(verb == "ADD" and ipam == "empty"), said
        return said

    def state_of_vf(self) -> Mapping[str, object]:
        link = self.node.vf_link()
        assert link is not None, sorted(self.node.home.links())
        altnames, flags = link.get("altnames", []), link["flags"]
        assert isinstance(altnames, list)
        assert isinstance(flags, list)
        # Whether there is a carrier the kernel tells in its own time.
        state = {"altnames": sorted(altnames), "up": "UP" in flags}
        return state | {key: link[key] for key in ("ifname", "address", "mtu")}

    def leftovers(self) -> list[str]:
        state = [path for path in self.node.state.rglob("*") if not path.is_dir() and path.parent.name != "locks"]
        addresses = self.node.folder.glob("ipam/net0/*")
        given = [path for path in addresses if path.name != "lock" and not path.name.startswith("last_reserved")]
        return sorted(str(path.relative_to(self.node.folder)) for path in [*state, *given])

    def send_home(self, pod: Namespace) -> None:
        """Let the pod's namespace die; its VF goes home under the name it had, as the kernel does with a real one."""
        for name, link in pod.links().items():
            # Some kernels give each namespace tunnels of its own.
            if "veth" in str(link.get("linkinfo")):
                pod.run("ip", "link", "set", name, "netns", str(self.node.home.keeper.pid))
        pod.end()


Recovery = Callable[[Bench, Machine, str], None]
"""What is done after a crash: in the home namespace, given the pod's."""


def delete(bench: Bench, machine: Machine, netns: str) -> None:
    bench.perform(machine, "DEL", netns=netns)


def delete_without_netns(bench: Bench, machine: Machine, netns: str) -> None:
    del netns
    bench.perform(machine, "DEL")


def collect(bench: Bench, machine: Machine, netns: str) -> None:
    del netns
    bench.perform(machine, "GC", cniVersion="1.1.0", **{"cni.dev/valid-attachments": []})


def reconcile_now(bench: Bench, machine: Machine, netns: str) -> None:
    del bench, netns
    reconcile(machine)


# The last of each is one that must finish the work whatever was there before.
RECOVERIES = [
    *itertools.product([delete, delete_without_netns, collect, reconcile_now], [delete, delete_without_netns]),
    (delete,), (delete_without_netns,), (collect, reconcile_now), (reconcile_now, collect),
]  # fmt: skip


@pytest.fixture
def bench(idle_node: Node) -> Bench:
    idle_node.home.run("ip", "link", "property", "add", "dev", "vf0", "altname", "enp3s16", "altname", "net1")
    idle_node.home.run("ip", "link", "set", "vf0", "mtu", "1600", "up")
    for name, script in (("slow", SLOW), ("empty", EMPTY)):
        program = idle_node.folder / name / "host-local"
        program.parent.mkdir()
        program.write_text(script)
        program.chmod(0o755)
    return Bench(idle_node, idle_node.config(ipam=True, mac="0a:58:0a:01:01:02", mtu=1400))


def crash(bench: Bench, what: str, pod: Namespace, *, kill_after: int | None) -> crashing.Run:
    verb, _, ipam = what.partition(" with IPAM ")
    return crashing.run(
        lambda: bench.perform(bench.enter(), verb, netns=pod.path, ipam=ipam or "slow"), kill_after=kill_after
    )


def rounds() -> int:
    """How often each step is met, each time with another way to recover."""
    return 5 if os.environ.get("DPUKIT_HYPOTHESIS") == "nightly" else 1


def recover(bench: Bench, chosen: tuple[Recovery, ...], netns: str) -> None:
    def work() -> None:
        machine = bench.enter()
        for recovery in chosen:
            recovery(bench, machine, netns)

    crashing.call(work)


def use_it_for_another_pod(bench: Bench) -> None:
    pod = bench.node.pod()

    def work() -> None:
        machine = bench.enter()
        bench.perform(machine, "ADD", container="c2", netns=pod.path, ipam=IPAM_PATH)
        bench.perform(machine, "DEL", container="c2", netns=pod.path, ipam=IPAM_PATH)

    crashing.call(work)
    pod.end()


@dataclass(frozen=True)
class Story:
    """What comes after a death."""

    dies: bool
    """Whether the pod's namespace goes."""
    again: int | None
    """After so many steps a DEL is killed, too."""
    recoveries: tuple[Recovery, ...]

    @classmethod
    def choose(cls, chance: random.Random) -> Story:
        again = chance.randrange(9) if chance.random() < 0.3 else None
        return cls(chance.random() < 0.4, again, chance.choice(RECOVERIES))


def survive(bench: Bench, what: str, seed: int) -> list[str]:
    """Kill `what` after each of its steps, and recover; return the steps."""
    before, chance = bench.state_of_vf(), random.Random(seed)
    for count in itertools.count():
        pod, story = bench.node.pod(), Story.choose(chance)
        # To make the folders is a step, too.
        shutil.rmtree(bench.node.state, ignore_errors=True)
        if what == "DEL":
            crashing.call(lambda pod=pod: bench.perform(bench.enter(), "ADD", netns=pod.path))
        run = crash(bench, what, pod, kill_after=count)
        try:
            if story.dies:
                bench.send_home(pod)
            if story.again is not None:
                crash(bench, "DEL", pod, kill_after=story.again)
            recover(bench, story.recoveries, pod.path)
            assert (bench.state_of_vf(), bench.leftovers()) == (before, [])
            use_it_for_another_pod(bench)
            assert (bench.state_of_vf(), bench.leftovers()) == (before, [])
        except AssertionError as error:
            raise AssertionError(f"{what} killed after {count} steps, {run.steps}; then {story}") from error
        pod.end()
        if not run.killed:
            return list(run.steps)
    raise AssertionError("never done")


@pytest.mark.parametrize("what", ["ADD", "DEL", "ADD with IPAM empty"])
def test_a_worker_killed_after_any_step_loses_nothing(bench: Bench, what: str, figure: Callable[[str], None]) -> None:
    for seed in range(rounds()):
        steps = survive(bench, what, seed)
    runs = rounds() * (len(steps) + 1)
    figure(f"{what}: {len(steps)} system-changing steps, killed before the first and after each: {runs} runs")
    print(f"{what}: {', '.join(steps)}")
