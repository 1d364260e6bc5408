"""Any order of calls, deaths, restarts and reboots: no VF in two places, none lost, a late DEL harms nobody.

A hypothesis state machine over the real `perform` and the real kernel, in one forked process whose own namespace plays
the node's. ``DPUKIT_HYPOTHESIS=nightly`` runs many more examples.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cni.attachment import Record
from cni.perform import Answer, Caller, perform, read_node
from cni.restore import Node as Machine
from sriov.kernel import netns as namespaces
from sriov.kernel.link import Links, open_rtnetlink
from sriov.kernel.netlink import NetlinkSocket
from sriov.link import LinkChange
from sriov.model import MacAddress
from tests import crashing
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf
from tests.netns.cni.conftest import PF, VFS
from tests.netns.cni.livesysfs import Device, LiveSysfs, read_devices
from tests.reconciling import reconcile

pytestmark = [pytest.mark.netns, pytest.mark.forks, pytest.mark.timeout(3600)]

COUNT = 2
"""VFs: enough to race for one and to be mistaken for the other."""
PODS = 3
CONTAINERS = ("c0", "c1", "c2", "r0", "r1")
IFNAME = "net1"
NETWORK = {"cniVersion": "1.0.0", "name": "net0", "type": "dpukit"}
_CLONE_NEWNET = 0x40000000

vfs = st.integers(0, COUNT - 1)
slots = st.integers(0, PODS - 1)
macs = st.sampled_from(["", "0a:58:0a:00:00:01", "0a:58:0a:00:00:02"])
mtus = st.sampled_from([None, 1400])


@dataclass(frozen=True)
class Seen:
    """A VF's device where it is; `pod` None is home. Its number may change under way."""

    pod: int | None
    device: Device


@dataclass(frozen=True)
class Place:
    """A namespace of the world, and an open socket in it."""

    descriptor: int
    netlink: NetlinkSocket
    stack: ExitStack

    @classmethod
    def of(cls, descriptor: int) -> Place:
        stack = ExitStack()
        return cls(descriptor, stack.enter_context(open_rtnetlink(subject="test", netns=descriptor)), stack)

    @property
    def links(self) -> Links:
        return Links(self.netlink)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def die(self) -> None:
        self.stack.close()
        os.close(self.descriptor)


class World:
    """The node's namespace, which is this process' own, with its VFs; pods; the state folder. Lives for all examples."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _unshare()
        lines = ["link add pf0 type veth peer name pf0x"]
        for number in range(COUNT):
            lines += [f"link add vf{number} type veth peer name wire{number}", f"link set wire{number} up"]
            lines += [f"link property add dev vf{number} altname enp3s{number}"]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
        fakes = tuple(FakeVf(VFS[number], f"vf{number}") for number in range(COUNT))
        self.sysfs = LiveSysfs(FakeSysfs(folder / "sys", FakePf(PF, "pf0", fakes)).root)
        self.home = Place.of(os.open(namespaces.OWN, os.O_RDONLY))
        self.pods = {slot: self._make_pod() for slot in range(PODS)}
        named = {device.name: device.index for device in read_devices(self.home.netlink)}
        self.wires = {named[f"wire{number}"]: number for number in range(COUNT)}

    @staticmethod
    def _make_pod() -> Place:
        made: list[int] = []

        def make() -> None:
            _unshare()
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return Place.of(made[0])

    def look(self) -> Mapping[int, Seen]:
        """Find each VF; that it is in two places, or in none, is an error."""
        found: dict[int, Seen] = {}
        for slot, place in ((None, self.home), *self.pods.items()):
            for device in read_devices(place.netlink):
                number = self.wires.get(device.peer or 0)
                if number is not None and not device.name.startswith("wire"):
                    assert number not in found, f"VF {number} is in two places"
                    found[number] = Seen(slot, replace(device, index=0))
        assert sorted(found) == list(range(COUNT)), f"VFs are lost: only {sorted(found)} are anywhere"
        return found

    def send_home(self, slot: int) -> None:
        """Let a pod's namespace die: its VFs go home under the names they had, or as ``devN``; the slot gets a new pod."""
        pod = self.pods[slot]
        taken = {name for device in read_devices(self.home.netlink) for name in (device.name, *device.altnames)}
        for device in read_devices(pod.netlink):
            if device.peer in self.wires:
                change = LinkChange(name=f"dev{device.index}" if device.name in taken else None)
                pod.links.move(device.index, netns=self.home.descriptor, change=change)
        pod.die()
        self.pods[slot] = self._make_pod()

    def renew_vfs(self, mac: int) -> None:
        """Let all pods die, and the VFs be as a driver makes them."""
        for slot in {seen.pod for seen in self.look().values()} - {None}:
            self.send_home(slot)
        for number, seen in self.look().items():
            link = self.home.links.find(seen.device.name)
            assert link is not None
            change = LinkChange(
                name=None if seen.device.name == f"vf{number}" else f"vf{number}",
                mac=MacAddress(bytes((2, 0, 0, 0, number, mac))), mtu=1500,
            )  # fmt: skip
            # Only one that is down takes another name on older kernels.
            self.home.links.change(link.index, LinkChange(up=False))
            self.home.links.change(link.index, change)
            if f"enp3s{number}" not in seen.device.altnames:
                self.home.links.add_altname(link.index, f"enp3s{number}")


_world: dict[str, World] = {}


class Calls(RuleBasedStateMachine):
    """What a runtime, a kernel and a node's administrator may do, and what must hold all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = _world["it"]
        self.state = Path(tempfile.mkdtemp(dir=self.world.folder))
        self.boots = 0
        self.machine = self.start()
        self.attached: dict[str, tuple[int, int]] = {}
        """Container → its VF, and the slot of its pod, as long as nothing but a DEL may end it."""
        self.dead: dict[str, int] = {}
        """Container → its VF, when its pod is gone without DEL."""
        self.asked: dict[str, dict[str, object]] = {}
        """Container → what its ADD said, and was answered, as long as nobody has touched what it made."""
        self.used = {"c0"}

    @initialize(mac=st.integers(0, 255))
    def begin(self, mac: int) -> None:
        self.world.renew_vfs(mac)
        self.fresh = dict(self.world.look())

    def start(self) -> Machine:
        machine = read_node(sysfs=Path("/nowhere"), state=self.state)
        return replace(machine, sysfs=self.world.sysfs, boot=f"boot {self.boots}")

    def call(self, verb: str, *, container: str = "c0", netns: str = "", **more: object) -> Answer:
        self.used.add(container)
        environment = {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": IFNAME, "CNI_PATH": "/nowhere",
            "CNI_NETNS": netns,
        }  # fmt: skip
        descriptor = None
        with suppress(OSError):
            descriptor = os.open(netns, os.O_RDONLY)
        try:
            return perform(Caller(environment, json.dumps({**NETWORK, **more}).encode(), descriptor), self.machine)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def add(self, container: str, vf: int, slot: int, mac: str, mtu: int | None) -> Answer:
        more = {"deviceID": VFS[vf]} | {key: value for key, value in (("mac", mac), ("mtu", mtu)) if value}
        answer = self.call("ADD", container=container, netns=self.world.pods[slot].path, **more)
        if answer.status == 0:
            self.asked[container] = {**more, "prevResult": json.loads(answer.text)}
        return answer

    def owner_of(self, vf: int) -> str | None:
        living = [container for container, (other, _) in self.attached.items() if other == vf]
        dead = [container for container, other in self.dead.items() if other == vf]
        assert len(living) + len(dead) <= 1
        return next(iter(living + dead), None)

    # -- what a runtime does -------------------------------------------------------------------------------------------

    @rule(container=slots, vf=vfs, slot=slots, mac=macs, mtu=mtus)
    def attach(self, container: int, vf: int, slot: int, mac: str, mtu: int | None) -> None:
        name, before = f"c{container}", self.world.look()
        has_one = name in self.attached or name in self.dead
        is_taken = any(seen.pod == slot and seen.device.name == IFNAME for seen in before.values())
        answer = self.add(name, vf, slot, mac, mtu)
        if has_one or is_taken or before[vf].pod is not None:
            assert answer.status == 1, "it cannot have been done"
            assert json.loads(answer.text)["code"] in (4, 11), answer
            if not has_one and before[vf].pod is None:
                # It was refused for its name, when its VF had been taken back from a dead pod already.
                self.dead.pop(self.owner_of(vf) or "", None)
            return
        assert answer.status == 0, answer
        self.settle(name, vf, slot, mac, mtu)

    @rule(mac=macs, mtu=mtus)
    def attach_what_is_free(self, mac: str, mtu: int | None) -> None:
        before = self.world.look()
        names = [name for name in CONTAINERS if name not in self.attached and name not in self.dead]
        free = [vf for vf, seen in before.items() if seen.pod is None]
        pods = set(range(PODS)) - {seen.pod for seen in before.values()}
        if names and free:
            answer = self.add(names[0], free[0], min(pods), mac, mtu)
            assert answer.status == 0, answer
            self.settle(names[0], free[0], min(pods), mac, mtu)

    def settle(self, name: str, vf: int, slot: int, mac: str, mtu: int | None) -> None:
        former = self.owner_of(vf)
        self.dead.pop(former or "", None)
        self.attached[name] = (vf, slot)
        seen, fresh = self.world.look()[vf], self.fresh[vf].device
        assert seen == Seen(slot, replace(fresh, name=IFNAME, mac=mac or fresh.mac, mtu=mtu or fresh.mtu, up=True))

    @rule(vf=vfs, slot=st.permutations(range(3)), mac=macs)
    def race(self, vf: int, slot: list[int], mac: str) -> None:
        before, names = self.world.look(), ["r0", "r1"]
        if any(name in self.attached or name in self.dead for name in names):
            return
        if any(seen.pod in slot[:2] and seen.device.name == IFNAME for seen in before.values()):
            return
        answers: dict[str, Answer] = {}

        def run(name: str, pod: int) -> None:
            answers[name] = self.add(name, vf, pod, mac, None)

        threads = [threading.Thread(target=run, args=pair) for pair in zip(names, slot[:2], strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [name for name in names if answers[name].status == 0]
        assert len(won) == (before[vf].pod is None), answers
        for name in names:
            if name in won:
                self.settle(name, vf, dict(zip(names, slot, strict=False))[name], mac, None)
            else:
                assert json.loads(answers[name].text)["code"] == 11, answers

    @rule(
        container=st.sampled_from(CONTAINERS), vf=st.none() | vfs,
        where=st.sampled_from(["its own", "none", "gone", "another"]),
    )  # fmt: skip
    def detach(self, container: str, vf: int | None, where: str) -> None:
        """DEL: with or without deviceID and namespace, of one that never was, of one long gone."""
        own = self.attached.get(container, (0, 0))[1]
        netns = {
            "its own": self.world.pods[own].path, "none": "", "gone": "/nowhere", "another": self.world.pods[(own + 1) % PODS].path,
        }[where]  # fmt: skip
        before = self.world.look()
        more = {} if vf is None else {"deviceID": VFS[vf]}
        answer = self.call("DEL", container=container, netns=netns, **more)
        assert (answer.status, answer.text) == (0, b""), answer
        ended = self.attached.get(container, (self.dead.get(container), 0))[0]
        self.check_ended({ended} - {None}, before)
        self.attached.pop(container, None)
        self.dead.pop(container, None)

    def check_ended(self, vfs_back: set[int | None], before: Mapping[int, Seen]) -> None:
        """These VFs are home, as they were at first; nobody has touched the others."""
        for vf, seen in self.world.look().items():
            assert seen == (self.fresh[vf] if vf in vfs_back else before[vf])

    @rule(valid=st.sets(st.sampled_from(CONTAINERS)))
    def collect(self, valid: set[str]) -> None:
        before = self.world.look()
        listed = [{"containerID": name, "ifname": IFNAME} for name in sorted(valid)]
        answer = self.call("GC", cniVersion="1.1.0", **{"cni.dev/valid-attachments": listed})
        assert answer.status == 0, answer
        living = {name: vf for name, (vf, _) in self.attached.items()}
        self.check_ended({vf for name, vf in (living | self.dead).items() if name not in valid}, before)
        self.attached = {name: pair for name, pair in self.attached.items() if name in valid}
        self.dead = {name: vf for name, vf in self.dead.items() if name in valid}

    @rule(container=st.sampled_from(CONTAINERS))
    def check(self, container: str) -> None:
        """CHECK agrees as long as nobody touched what ADD made; it changes nothing."""
        before = self.world.look()
        _, slot = self.attached.get(container, (0, 0))
        asked = self.asked.get(container, {"deviceID": VFS[0], "prevResult": {"cniVersion": "1.0.0"}})
        answer = self.call("CHECK", container=container, netns=self.world.pods[slot].path, **asked)
        assert (answer.status == 0) == (container in self.attached and container in self.asked), answer
        assert self.world.look() == before

    # -- what else happens ---------------------------------------------------------------------------------------------

    @rule()
    def restart_the_daemon(self) -> None:
        before = self.world.look()
        self.machine = self.start()
        assert reconcile(self.machine) == len(self.dead)
        self.check_ended(set(self.dead.values()), before)
        self.dead = {}

    @rule(slot=slots)
    def delete_a_pods_namespace(self, slot: int) -> None:
        self.world.send_home(slot)
        for name, (vf, other) in list(self.attached.items()):
            if other == slot:
                del self.attached[name]
                self.dead[name] = vf

    @rule(vf=vfs, name=st.sampled_from(["mine", "enp9"]), mac=macs)
    def rename_inside_the_pod(self, vf: int, name: str, mac: str) -> None:
        seen = self.world.look()[vf]
        if seen.pod is None:
            return
        links = self.world.pods[seen.pod].links
        link = links.find(seen.device.name)
        assert link is not None
        owner = self.owner_of(vf)
        assert owner is not None
        if links.find(name) is not None:
            return
        change = LinkChange(name=name, mac=MacAddress.parse(mac) if mac else None, mtu=1300)
        self.asked.pop(owner, None)
        for part in (LinkChange(up=False), change, LinkChange(up=True)):
            links.change(link.index, part)

    @rule(mac=st.integers(0, 255))
    def reboot(self, mac: int) -> None:
        """VFs are new, pods are gone, records are there; the runtime still remembers its containers."""
        self.boots += 1
        self.world.renew_vfs(mac)
        self.fresh = dict(self.world.look())
        self.dead |= {name: vf for name, (vf, _) in self.attached.items()}
        self.attached = {}
        self.machine = self.start()

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def every_vf_is_in_one_place_and_is_accounted_for(self) -> None:
        seen = self.world.look()
        for vf, slot in self.attached.values():
            assert seen[vf].pod == slot
        owned = {vf for vf, _ in self.attached.values()} | set(self.dead.values())
        for vf in set(seen) - owned:
            assert seen[vf] == self.fresh[vf]
        recorded = self.machine.records.read_all()
        owners = {record.attachment.container: record.vf for record in recorded if isinstance(record, Record)}
        expected = {name: vf for name, (vf, _) in self.attached.items()} | self.dead
        assert {name: str(vf) for name, vf in owners.items()} == {name: VFS[vf] for name, vf in expected.items()}

    def teardown(self) -> None:
        for name in sorted(self.used):
            self.call("DEL", container=name)
        reconcile(self.machine)
        left = [path for path in self.state.rglob("*") if not path.is_dir() and path.parent.name != "locks"]
        seen = self.world.look()
        shutil.rmtree(self.state)
        assert (seen, left) == (self.fresh, [])


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def test_no_order_of_calls_and_deaths_loses_a_vf(figure: Callable[[str], None]) -> None:
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("cannot make network namespaces here")
    chosen = settings(stateful_step_count=12, suppress_health_check=list(HealthCheck), database=None)

    def run() -> None:
        # In memory: a state folder of each example is synced often.
        memory = Path("/dev/shm")
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            _world["it"] = World(Path(folder))
            run_state_machine_as_test(Calls, settings=chosen)

    crashing.call(run)
    figure(f"state machine: {chosen.max_examples} examples of up to {chosen.stateful_step_count} steps")
