"""Plans done on a sysfs whose driver behaves, is late, is deaf, or refuses."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deviceplugin.provision.apply import PROBE_AFTER_S, Provisioner
from deviceplugin.provision.desired import DesiredPf, VfGroup
from deviceplugin.provision.record import Records
from sriov.errors import BusyError, KernelError, NotFoundError, VerifyError
from sriov.kernel.sysfs import Sysfs
from sriov.model import PciAddress
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

PF, OTHER = "0000:01:00.0", "0000:02:00.0"


class LivingSysfs(Sysfs):
    """A sysfs whose driver makes VFs when told to, with or without their network devices, and counts the writes."""

    def __init__(self, fake: FakeSysfs) -> None:
        super().__init__(fake.root)
        self.fake = fake
        self.netdev_prefix: str | None = "v"
        self.writes: list[str] = []
        self.refuses = ""

    def _note(self, what: str) -> None:
        if what == self.refuses:
            raise KernelError("test", what, errno.ENOMEM)
        self.writes.append(what)

    def write_num_vfs(self, pf: PciAddress, count: int) -> None:
        self._note(f"numvfs {pf} {count}")
        super().write_num_vfs(pf, count)
        self.fake.settle_num_vfs(str(pf), netdev_prefix=self.netdev_prefix)

    def write_mtu(self, netdev: str, mtu: int) -> None:
        self._note(f"mtu {netdev} {mtu}")
        super().write_mtu(netdev, mtu)

    def write_up(self, netdev: str) -> None:
        self._note(f"up {netdev}")
        super().write_up(netdev)

    def write_probe(self, address: PciAddress) -> None:
        self._note(f"probe {address}")
        self.fake.bind(str(address), "igbvf")
        self.fake.place_netdev(str(address), f"n{address.function}")


class Scene:
    def __init__(self, folder: Path, *pfs: FakePf) -> None:
        self.fake = FakeSysfs(folder / "sys", *(pfs or (FakePf(PF, "ens1f0"), FakePf(OTHER, "ens2f0"))))
        self.sysfs = LivingSysfs(self.fake)
        self.state = folder / "state"
        self.records = Records(self.state, boot="now")
        self.slept = 0.0
        self.on_sleep: Callable[[], None] = lambda: None
        self.provisioner = Provisioner(self.sysfs, eswitches=None, memory=self.records, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.on_sleep()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def want(count: int, mtu: int | None = None, pf: str = PF) -> DesiredPf:
    groups = (VfGroup("p", "vfs", tuple(range(count)), mtu),)
    return DesiredPf(PciAddress.parse(pf), count, mtu, None, False, groups, "policy p")


def test_vfs_are_created_and_a_second_run_writes_nothing(scene: Scene) -> None:
    (outcome,) = scene.provisioner.apply([want(3, 9000)])
    assert outcome.error is None
    assert scene.sysfs.writes == [
        "mtu ens1f0 9000", f"numvfs {PF} 3", "mtu v0 9000", "mtu v1 9000", "mtu v2 9000",
    ]  # fmt: skip
    scene.sysfs.writes.clear()
    (again,) = scene.provisioner.apply([want(3, 9000)])
    assert (again.done, again.error, scene.sysfs.writes) == ((), None, [])


@settings(max_examples=20)  # each makes folders and syncs a record to disk
@given(counts=st.lists(st.integers(0, 7), min_size=1, max_size=4), mtu=st.sampled_from([None, 1500, 9000]))
def test_whatever_was_applied_before_the_next_plan_is_empty(
    counts: list[int], mtu: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scene = Scene(tmp_path_factory.mktemp("scene"))
    for count in counts:
        (outcome,) = scene.provisioner.apply([want(count, mtu)])
        assert outcome.error is None
        (plan,) = scene.provisioner.plan([want(count, mtu)])
        assert (plan.steps, plan.refusal) == ((), None)


def test_the_first_state_is_on_record_before_the_first_write_and_stays_so(scene: Scene) -> None:
    scene.sysfs.refuses = "mtu ens1f0 9000"
    (outcome,) = scene.provisioner.apply([want(3, 9000)])
    assert isinstance(outcome.error, KernelError)
    assert outcome.done == ()
    scene.sysfs.refuses = ""
    scene.provisioner.apply([want(3, 9000)])
    scene.provisioner.apply([want(5, 9000)])
    (initial,) = scene.records.read_initial_states()
    assert (initial.num_vfs, initial.mtu) == (0, 1500)


def test_restoring_brings_the_first_state_back(scene: Scene) -> None:
    scene.provisioner.apply([want(3, 9000)])
    (initial,) = scene.records.read_initial_states()
    (outcome,) = scene.provisioner.apply([initial.desire()])
    assert outcome.error is None
    pf = scene.sysfs.find_pf(PciAddress.parse(PF))
    assert pf
    assert (pf.num_vfs, pf.mtu) == (0, 1500)


def test_vfs_get_drivers_where_the_kernel_was_told_not_to_and_a_restore_tells_it_again(scene: Scene) -> None:
    autoprobe = scene.fake.root / f"bus/pci/devices/{PF}/sriov_drivers_autoprobe"
    autoprobe.write_text("0")
    (outcome,) = scene.provisioner.apply([want(1)])
    assert [str(step) for step in outcome.done] == ["set sriov_drivers_autoprobe 1", "create 1 VFs"]
    assert autoprobe.read_text() == "1\n"
    (outcome,) = scene.provisioner.apply([scene.records.read_initial_states()[0].desire()])
    assert outcome.error is None
    assert autoprobe.read_text() == "0\n"


def test_one_pf_that_fails_does_not_stop_the_others(scene: Scene) -> None:
    scene.sysfs.refuses = f"numvfs {PF} 2"
    one, other = scene.provisioner.apply([want(2), want(2, pf=OTHER)])
    assert isinstance(one.error, KernelError)
    assert other.error is None
    assert [str(step) for step in other.done] == ["create 2 VFs"]


def test_a_run_that_was_cut_short_is_finished_by_the_next(scene: Scene) -> None:
    scene.provisioner.apply([want(2)])
    scene.sysfs.refuses = f"numvfs {PF} 5"
    (cut,) = scene.provisioner.apply([want(5)])
    assert [str(step) for step in cut.done] == ["remove all VFs"]
    scene.sysfs.refuses = ""
    (outcome,) = scene.provisioner.apply([want(5)])
    assert outcome.error is None


def test_network_devices_that_come_late_are_waited_for(scene: Scene) -> None:
    scene.sysfs.netdev_prefix = None

    def come() -> None:
        if scene.slept > 1:
            for vf in scene.sysfs.read_vfs(PciAddress.parse(PF)):
                scene.fake.place_netdev(str(vf.address), f"late{vf.index}")

    scene.on_sleep = come
    (outcome,) = scene.provisioner.apply([want(2, 1500)])
    assert outcome.error is None
    assert 1 < scene.slept < 2


def test_a_driver_that_does_not_come_by_itself_is_asked_for(scene: Scene) -> None:
    scene.sysfs.netdev_prefix = None

    def unbind() -> None:
        for vf in scene.sysfs.read_vfs(PciAddress.parse(PF)):
            if scene.slept < PROBE_AFTER_S / 2:
                scene.fake.bind(str(vf.address), None)

    scene.on_sleep = unbind
    (outcome,) = scene.provisioner.apply([want(2)])
    assert outcome.error is None
    assert [write for write in scene.sysfs.writes if write.startswith("probe")] == [
        "probe 0000:01:10.0",
        "probe 0000:01:10.1",
    ]


def test_vfs_that_never_settle_are_named(scene: Scene) -> None:
    scene.sysfs.netdev_prefix = None
    (outcome,) = scene.provisioner.apply([want(2)])
    assert isinstance(outcome.error, VerifyError)
    assert "0000:01:10.0 (driver igbvf), 0000:01:10.1 (driver igbvf)" in str(outcome.error)
    assert "modprobe" in outcome.error.hint


def test_a_vf_without_driver_is_bound_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, FakePf(PF, "ens1f0", (FakeVf("0000:01:10.0", "v0"), FakeVf("0000:01:10.2", driver=None))))
    (outcome,) = scene.provisioner.apply([want(2)])
    assert outcome.error is None
    assert scene.sysfs.writes == ["probe 0000:01:10.2"]


def test_a_write_that_does_not_hold_is_told(scene: Scene) -> None:
    scene.provisioner.apply([want(1)])

    class Deaf(LivingSysfs):
        def write_mtu(self, netdev: str, mtu: int) -> None:
            """Accept it and forget it, as some drivers do."""

    provisioner = Provisioner(Deaf(scene.fake), eswitches=None, memory=scene.records, sleep=lambda _: None)
    (outcome,) = provisioner.apply([want(1, 9000)])
    assert isinstance(outcome.error, VerifyError)
    assert "after all steps there is still to do: set MTU 9000 on ens1f0" in str(outcome.error)


def test_a_pf_that_vanishes_meanwhile_is_told(scene: Scene) -> None:
    class Vanishing(LivingSysfs):
        def write_num_vfs(self, pf: PciAddress, count: int) -> None:
            super().write_num_vfs(pf, count)
            (self.root / f"bus/pci/devices/{pf}/sriov_totalvfs").unlink()

    provisioner = Provisioner(Vanishing(scene.fake), eswitches=None, memory=scene.records, sleep=lambda _: None)
    (outcome,) = provisioner.apply([want(1)])
    assert isinstance(outcome.error, NotFoundError)
    assert "is no more on this host" in str(outcome.error)


def test_a_pf_that_is_down_is_set_up(scene: Scene) -> None:
    (scene.fake.root / "class/net/ens1f0/flags").write_text("0x1002")
    (outcome,) = scene.provisioner.apply([want(1)])
    assert outcome.error is None
    assert "up ens1f0" in scene.sysfs.writes


def test_vfs_of_pods_stay(scene: Scene) -> None:
    scene.provisioner.apply([want(2)])
    (scene.state / "attachments").mkdir(parents=True)
    (scene.state / "attachments/abc-net1.json").write_text('{"vf": "0000:01:10.1", "boot": "now"}')
    (outcome,) = scene.provisioner.apply([want(4)])
    assert isinstance(outcome.error, BusyError)
    assert "attachment abc-net1 has it" in str(outcome.error)
    assert outcome.done == ()


def test_vfs_that_a_pod_is_being_given_stay(scene: Scene) -> None:
    scene.provisioner.apply([want(2)])
    with Records(scene.state).hold([PciAddress.parse("0000:01:10.1")]):
        (outcome,) = scene.provisioner.apply([want(4)])
    assert isinstance(outcome.error, BusyError)
    assert "a pod is being given this VF" in str(outcome.error)
    assert scene.sysfs.writes == [f"numvfs {PF} 2"]
