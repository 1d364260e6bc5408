"""A plan reaches what is desired, takes no VF from a pod, and is empty the second time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deviceplugin.model import HostPf, HostVf
from deviceplugin.provision.desired import DesiredPf, VfGroup
from deviceplugin.provision.plan import (
    BindVf,
    CreateVfs,
    PfPlan,
    RemoveVfs,
    SetAutoprobe,
    SetPfMtu,
    SetPfUp,
    SetVfMtu,
    Step,
    find_in_use,
    plan_pf,
)
from sriov.errors import BusyError, NotFoundError, UnsupportedError, VerifyError
from sriov.model import NetdevState, PciAddress, Pf, Vf

ADDRESS = PciAddress(0, 1, 0, 0)


def make_vf(index: int, *, mtu: int = 1500, driver: str | None = "igbvf", netdev: bool = True) -> HostVf:
    name = f"v{index}" if netdev and driver else None
    function = Vf(PciAddress(0, 1, 0x10, index), index, driver, name)
    return HostVf(function, NetdevState(name, mtu, up=False, carrier=None) if name else None)


def make_pf(*vfs: HostVf, mtu: int = 1500, up: bool = True, mode: str | None = None) -> HostPf:
    functions = tuple(vf.function for vf in vfs)
    pf = Pf(
        ADDRESS, "ens0", "igb", "8086", "10c9", None, None, mtu, True, mode, len(vfs), 7, functions, vf_device="10ca"
    )
    return HostPf(pf, NetdevState("ens0", mtu, up=up, carrier=True), vfs)


def make_desired(count: int, mtu: int | None = None, *, external: bool = False, mode: str | None = None) -> DesiredPf:
    groups = (VfGroup("p", "vfs", tuple(range(count)), mtu),)
    return DesiredPf(ADDRESS, count, mtu, mode, external, groups, "policy p")


def plan(desired: DesiredPf, pf: HostPf, attached: dict[PciAddress, str] | None = None) -> PfPlan:
    return plan_pf(desired, pf, find_in_use(pf, attached or {}))


def perform(step: Step, pf: HostPf) -> HostPf:  # noqa: PLR0911 - one for each step
    """Do to a value what the step does to a host whose drivers behave."""
    match step:
        case RemoveVfs():
            return replace(pf, vfs=(), function=replace(pf.function, num_vfs=0, vfs=()))
        case CreateVfs():
            assert not pf.vfs, "the kernel creates VFs only where there are none"
            vfs = tuple(make_vf(index) for index in range(step.count))
            functions = tuple(vf.function for vf in vfs)
            return replace(pf, vfs=vfs, function=replace(pf.function, num_vfs=step.count, vfs=functions))
        case SetAutoprobe():
            return replace(pf, function=replace(pf.function, vf_autoprobe=bool(step.number)))
        case BindVf():
            assert pf.function.vf_autoprobe, "the kernel gives no VF a driver then"
            vfs = tuple(make_vf(v.function.index) if v.function.address == step.vf else v for v in pf.vfs)
            return replace(pf, vfs=vfs)
        case SetPfMtu():
            assert pf.state
            return replace(pf, state=replace(pf.state, mtu=step.mtu))
        case SetPfUp():
            assert pf.state
            return replace(pf, state=replace(pf.state, up=True))
        case SetVfMtu():
            vfs = tuple(
                make_vf(v.function.index, mtu=step.mtu) if v.function.index == step.index else v for v in pf.vfs
            )
            return replace(pf, vfs=vfs)


VFS = st.builds(
    lambda kinds: tuple(
        make_vf(index, mtu=mtu, driver=driver, netdev=netdev) for index, (mtu, driver, netdev) in enumerate(kinds)
    ),
    st.lists(
        st.tuples(st.sampled_from([1500, 9000]), st.sampled_from(["igbvf", "igbvf", None, "vfio-pci"]), st.booleans()),
        max_size=7,
    ),
)
PFS = st.builds(
    lambda vfs, mtu, up, mode, auto: replace(
        pf := make_pf(*vfs, mtu=mtu, up=up, mode=mode), function=replace(pf.function, vf_autoprobe=auto)
    ),
    VFS,
    st.sampled_from([1500, 9000]),
    st.booleans(),
    st.sampled_from([None, "legacy", "switchdev"]),
    st.booleans(),
)
DESIRED = st.builds(
    lambda count, mtu, external, mode, exact, auto: replace(
        make_desired(count, mtu, external=external, mode=mode), is_exact=exact, vf_autoprobe=auto or not exact
    ),
    st.integers(0, 7),
    st.sampled_from([None, 1500, 9000]),
    st.booleans(),
    st.sampled_from([None, "legacy", "switchdev"]),
    st.booleans(),
    st.booleans(),
)


@given(DESIRED, PFS)
def test_after_a_plan_was_done_there_is_nothing_to_do(desired: DesiredPf, pf: HostPf) -> None:
    found = plan(desired, pf)
    for step in found.steps:
        pf = perform(step, pf)
    if found.refusal is None:
        again = plan(desired, pf)
        assert (again.steps, again.refusal) == ((), None)


@given(DESIRED, PFS)
def test_a_plan_is_refused_or_has_steps_never_both(desired: DesiredPf, pf: HostPf) -> None:
    found = plan(desired, pf)
    assert not (found.refusal and found.steps)
    if desired.externally_managed:
        assert not found.steps


@given(DESIRED, PFS)
def test_no_step_touches_a_vf_that_is_in_use(desired: DesiredPf, pf: HostPf) -> None:
    in_use = find_in_use(pf, {})
    used = {vf.function.index for vf in pf.vfs if vf.function.address in in_use}
    for step in plan(desired, pf).steps:
        match step:
            case RemoveVfs() | CreateVfs():
                assert not used
            case BindVf():
                assert step.vf not in in_use
            case SetVfMtu():
                assert step.index not in used


@given(PFS)
def test_a_pf_that_is_as_desired_needs_nothing(pf: HostPf) -> None:
    vfs = tuple(vf for vf in pf.vfs if vf.function.driver == "igbvf")
    there = replace(
        make_pf(*(make_vf(n, netdev=vf.function.netdev is not None) for n, vf in enumerate(vfs))),
        state=NetdevState("ens0", 1500, up=True, carrier=False),
    )
    assert plan(make_desired(len(vfs), 1500), there) == PfPlan(there, ())


def test_vfs_are_created_where_there_are_none() -> None:
    steps = plan(make_desired(2, 9000), make_pf(up=False)).steps
    assert [str(step) for step in steps] == [
        "set MTU 9000 on ens0",
        "create 2 VFs",
        "set ens0 up",
        "set MTU 9000 on VF 0",
        "set MTU 9000 on VF 1",
    ]
    assert steps[1].reason == "policy p wants numVfs 2, the PF has 0"


def test_another_number_of_vfs_goes_by_way_of_none() -> None:
    steps = plan(make_desired(3), make_pf(make_vf(0), make_vf(1))).steps
    assert [str(step) for step in steps] == ["remove all VFs", "create 3 VFs"]
    assert [str(step) for step in plan(make_desired(0), make_pf(make_vf(0))).steps] == ["remove all VFs"]


def test_the_pfs_mtu_is_raised_and_never_lowered_but_for_a_restore() -> None:
    high = make_pf(mtu=9000)
    assert plan(make_desired(0, 1500), high).steps == ()
    restoring = DesiredPf.restoring(ADDRESS, num_vfs=0, mtu=1500)
    assert [str(step) for step in plan(restoring, high).steps] == ["set MTU 1500 on ens0"]


def test_a_vf_without_driver_is_bound() -> None:
    steps = plan(make_desired(1, 1500), make_pf(make_vf(0, driver=None))).steps
    assert [str(step) for step in steps] == ["bind a driver to VF 0000:01:10.0", "set MTU 1500 on VF 0"]


def test_vfs_in_use_are_not_removed_and_their_user_is_named() -> None:
    pf = make_pf(make_vf(0), make_vf(1, netdev=False))
    refusal = plan(make_desired(4), pf, {PciAddress(0, 1, 0x10, 0): "attachment abc-net1 has it"}).refusal
    assert isinstance(refusal, BusyError)
    assert "its 2 VFs would have to be removed to make 4, and 2 of them are in use" in str(refusal)
    assert "VF 0000:01:10.0: attachment abc-net1 has it" in str(refusal)
    away = plan(make_desired(4), make_pf(make_vf(0, netdev=False))).refusal
    assert "its network device is in another namespace" in str(away)
    assert plan(make_desired(1), make_pf(make_vf(0, netdev=False))).steps == ()


def test_what_others_manage_is_only_verified() -> None:
    pf = make_pf(make_vf(0), make_vf(1))
    assert plan(make_desired(2, external=True), pf) == PfPlan(pf, ())
    few = plan(make_desired(3, external=True), pf).refusal
    assert isinstance(few, VerifyError)
    assert "has 2 VFs, policy p wants at least 3" in str(few)
    small = plan(make_desired(2, 9000, external=True), pf).refusal
    assert "has MTU 1500, policy p wants at least 9000" in str(small)


@pytest.mark.parametrize(("mode", "wanted"), [(None, "switchdev"), ("switchdev", "legacy")])
def test_another_eswitch_mode_cannot_be_had_yet(mode: str | None, wanted: str) -> None:
    refusal = plan(make_desired(0, mode=wanted), make_pf(mode=mode)).refusal
    assert isinstance(refusal, UnsupportedError)
    assert f"policy p wants {wanted}" in str(refusal)


def test_a_pf_without_network_device_has_no_mtu_to_set() -> None:
    refusal = plan(make_desired(1, 1500), replace(make_pf(), state=None)).refusal
    assert isinstance(refusal, NotFoundError)
    assert plan(make_desired(1), replace(make_pf(), state=None)).steps


def test_a_vf_that_a_user_space_driver_has_is_left_alone() -> None:
    refusal = plan(make_desired(1), make_pf(make_vf(0, driver="vfio-pci", netdev=False))).refusal
    assert isinstance(refusal, UnsupportedError)
    assert "has the driver vfio-pci" in str(refusal)
