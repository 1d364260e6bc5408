"""On real igb VFs: a worker killed after each single step of ADD and of DEL; the VF is home again, and all its PF keeps of it.

The worker is forked from this process, which has everything imported: a Python of its own would cost a second each time.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cni.perform import Caller, perform, read_node
from cni.restore import Node
from tests import crashing
from tests.lab import netns
from tests.lab.cases.conftest import remove_pod
from tests.lab.model import Host, Lab
from tests.lab.vf import home_netdev
from tests.reconciling import reconcile

pytestmark = pytest.mark.timeout(900)

POD = "cni-crash"
PATH = "/usr/lib/cni"
VF = 1
WANTED: Mapping[str, Any] = {
    "mac": "0a:58:0a:01:01:02", "vlan": 7, "vlanQoS": 3, "mtu": 1400, "spoofchk": "off", "trust": "on",
    "ipam": {"type": "host-local", "dataDir": "/run/cni-crash/ipam", "ranges": [[{"subnet": "10.9.0.0/24"}]]},
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """One VF, and the ways to call the plugin about it."""

    host: Host
    folder: Path

    def node(self) -> Node:
        return read_node(sysfs=Path("/sys"), state=self.folder / "state")

    def perform(self, verb: str, container: str, *, path: str = "", **more: object) -> None:
        environment = {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "net1", "CNI_PATH": PATH,
            "CNI_NETNS": path, "PATH": os.environ["PATH"],
        }  # fmt: skip
        config = {"cniVersion": "1.0.0", "name": "net0", "type": "dpukit", "deviceID": self.host.vf_pci(VF)}
        descriptor = None
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
        answer = perform(
            Caller(environment, json.dumps({**config, **WANTED, **more}).encode(), descriptor), self.node()
        )
        assert answer.status == 0, answer

    def state_of_vf(self) -> Mapping[str, Any]:
        """Tell what iproute2 knows of the VF at home and of what its PF keeps."""
        name = home_netdev(self.host, VF)
        links = {link["ifname"]: link for link in netns.show("ip -d link show")}
        link, pf = links[str(name)], links[self.host.netdev]
        (kept,) = [entry for entry in pf["vfinfo_list"] if entry["vf"] == VF]
        kept.pop("stats", None)
        state = {key: link[key] for key in ("ifname", "address", "mtu")}
        return state | {"altnames": sorted(link.get("altnames", [])), "up": "UP" in link["flags"], "kept": kept}

    def leftovers(self) -> list[str]:
        state = [path for path in self.folder.glob("state/**/*") if not path.is_dir() and path.parent.name != "locks"]
        given = [path for path in self.folder.glob("ipam/net0/*") if path.name[0].isdigit()]
        return sorted(str(path.relative_to(self.folder)) for path in [*state, *given])


Recovery = Callable[[Bench, str], None]
"""What is done after a crash, for a container."""


def delete(bench: Bench, container: str) -> None:
    bench.perform("DEL", container, path=f"/run/netns/{POD}")


def delete_without_netns(bench: Bench, container: str) -> None:
    bench.perform("DEL", container)


def collect(bench: Bench, container: str) -> None:
    """GC, without the plugin for addresses: Debian's knows no GC."""
    more: dict[str, Any] = {"cni.dev/valid-attachments": []}
    bench.perform("GC", container, ipam=None, cniVersion="1.1.0", **more)


def reconcile_now(bench: Bench, container: str) -> None:
    del container
    reconcile(bench.node())


# The last of each is one that finishes the work whatever was there before.
RECOVERIES: tuple[tuple[Recovery, ...], ...] = (
    (delete,), (delete_without_netns,), (collect, delete_without_netns), (reconcile_now, delete), (delete, delete),
)  # fmt: skip


@pytest.fixture
def bench(lab: Lab, vfs: int) -> Iterator[Bench]:
    found = Bench(lab.hosts[0], Path("/run/cni-crash"))
    found.folder.mkdir()
    name = home_netdev(found.host, VF)
    netns.ip([f"link property add dev {name} altname net1", f"link property add dev {name} altname crashvf"])
    netns.ip([f"netns add {POD}"])
    yield found
    remove_pod(POD)
    netns.ip([f"link property del dev {name} altname net1", f"link property del dev {name} altname crashvf"])
    shutil.rmtree(found.folder)


def recover(bench: Bench, container: str, recoveries: tuple[Recovery, ...]) -> None:
    for step in recoveries:
        step(bench, container)


def survive(bench: Bench, verb: str, seed: int) -> tuple[str, ...]:
    """Kill `verb` after each of its steps, and recover; each next pod takes the same VF. Return the steps."""
    before, chance, path = bench.state_of_vf(), random.Random(seed), f"/run/netns/{POD}"
    for count in itertools.count():
        container, dies, recoveries = f"c{count}", chance.random() < 0.3, chance.choice(RECOVERIES)
        if verb == "DEL":
            crashing.call(functools.partial(bench.perform, "ADD", container, path=path))
        run = crashing.run(functools.partial(bench.perform, verb, container, path=path), kill_after=count)
        story = f"{verb} killed after {count} steps, {run.steps}; {dies=}, {[step.__name__ for step in recoveries]}"
        if dies:
            # Not waited for: whoever recovers finds the VF under way.
            netns.ip([f"netns del {POD}", f"netns add {POD}"])
        try:
            crashing.call(functools.partial(recover, bench, container, recoveries))
            assert (bench.state_of_vf(), bench.leftovers()) == (before, [])
        except AssertionError as error:
            raise AssertionError(story) from error
        if not run.killed:
            return run.steps
    raise AssertionError("never done")


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_worker_killed_after_any_step_loses_no_vf(bench: Bench, verb: str, figure: Callable[[str], None]) -> None:
    steps = survive(bench, verb, seed=1)
    figure(f"{verb}: {len(steps)} system-changing steps, killed before the first and after each: {len(steps) + 1} runs")
    print(f"{verb}: {', '.join(steps)}")


def test_a_vf_that_was_moved_on_from_its_pod_is_found_in_any_namespace(bench: Bench) -> None:
    before, path = bench.state_of_vf(), f"/run/netns/{POD}"
    crashing.call(functools.partial(bench.perform, "ADD", "c1", path=path))
    netns.ip(["netns add cni-inner"])
    try:
        netns.ip(["link set net1 netns cni-inner name inner0"], netns=POD)
        crashing.call(functools.partial(bench.perform, "DEL", "c1", path=path))
        assert (bench.state_of_vf(), bench.leftovers()) == (before, [])
    finally:
        netns.ip(["netns del cni-inner"])
