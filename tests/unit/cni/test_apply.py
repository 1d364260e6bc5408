"""Plans carried out on a kernel that behaves: the goal is reached, and from any prefix there is a way back."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cni.apply import apply_attributes, apply_steps
from cni.attachment import Call, Home, Phase, Record
from cni.network import NetworkConfig
from cni.observe import Pod, Workplace, find_at_home, find_in_pod
from cni.plan import FoundVf, Place, plan_add, plan_restore
from cni.request import AttachmentId
from sriov.errors import KernelError, UnsupportedError
from sriov.link import Link, LinkState, Rates, VfAttributes, VlanTag
from sriov.model import MacAddress, PciAddress, Vf
from tests.fakes.links import HOME, POD, FakeKernel, FakeLinks

VF = PciAddress(0, 3, 16, 0)
NAMES = ("vf0", "net1", "enp3", "eth0", "x")

macs = st.sampled_from([MacAddress(bytes([2, 0, 0, 0, 0, number])) for number in range(3)])
admin_macs = macs | st.just(MacAddress(bytes(6)))
told = st.builds(
    VfAttributes,
    mac=admin_macs,
    vlan=st.builds(VlanTag, st.integers(0, 2), st.integers(0, 1)),
    spoofchk=st.booleans(),
    trust=st.booleans(),
    link_state=st.sampled_from(LinkState),
    rates=st.builds(Rates, st.integers(0, 1), st.integers(0, 1)),
)
links = st.builds(
    Link,
    index=st.just(5),
    name=st.just("vf0"),
    altnames=st.lists(st.sampled_from(["net1", "enp3", "alt"]), unique=True).map(tuple),
    mac=macs,
    mtu=st.sampled_from([1400, 1500]),
    up=st.booleans(),
    parent=st.just(str(VF)),
)


@st.composite
def configs(draw: st.DrawFn) -> NetworkConfig:
    mac = draw(st.none() | macs)
    optional = draw(told)
    keep = {name: draw(st.booleans()) for name in ("vlan", "spoofchk", "trust", "link_state", "rates")}
    attributes = replace(optional, mac=mac, **{name: None for name, kept in keep.items() if not kept})
    mtu = draw(st.none() | st.sampled_from([1300, 1500]))
    return NetworkConfig(VF, mac, mtu, attributes, None, None, {}, None, ())


def machine(link: Link, attributes: VfAttributes | None) -> tuple[FakeKernel, Workplace]:
    kernel = FakeKernel(attributes=attributes)
    kernel.namespaces[HOME][link.index] = link
    kernel.namespaces[POD][1] = Link(1, "lo", (), None, 65536, up=True, parent=None)
    # Its number and one of its names are taken in the pod.
    kernel.namespaces[POD][5] = Link(5, "eth0", ("alt",), None, 1500, up=True, parent=None)
    pod = Pod(POD, FakeLinks(kernel, POD), None)
    work = Workplace(Vf(VF, 0, "fake", "vf0"), 2, FakeLinks(kernel, HOME), HOME, pod)
    return kernel, work


class Sysfs:
    """Names the VF's device by looking where it is."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def find_netdev(self, address: PciAddress) -> str | None:
        links = self._kernel.namespaces[HOME].values()
        return next((link.name for link in links if link.parent == str(address)), None)


RECORD = Record(
    AttachmentId("c1", "net1"), "n", VF, "/x", 1, Phase.PLANNED, "b",
    Home(5, "vf0", (), MacAddress(bytes(6)), 1500, up=False, tells_parent=True), VfAttributes(),
    Call(None, "1.0.0", "", "", ""),
)  # fmt: skip


def look(kernel: FakeKernel, work: Workplace) -> FoundVf:
    found = find_in_pod(work, RECORD) or find_at_home(work, sysfs=Sysfs(kernel))
    assert found is not None
    return found


def home_of(link: Link) -> Home:
    assert link.mac is not None
    return Home(link.index, link.name, link.altnames, link.mac, link.mtu, link.up, tells_parent=True)


@given(links, told | st.none(), configs())
def test_after_an_add_the_pod_has_what_was_wanted(link: Link, now: VfAttributes | None, config: NetworkConfig) -> None:
    kernel, work = machine(link, now)
    assume(now is not None or replace(config.attributes, mac=None).is_empty)
    found = look(kernel, work)
    place, index = apply_steps(plan_add(found, config, ifname="net1", taken=frozenset({"alt"})), work, found)
    after = FakeLinks(kernel, POD).find("net1")
    assert after is not None
    assert (place, index, after.name, after.up) == (Place.POD, after.index, "net1", True)
    assert after.mac == (config.mac or link.mac)
    assert after.mtu == (config.mtu or link.mtu)
    assert now is None or config.attributes.difference(kernel.attributes or VfAttributes()).is_empty


@given(links, told | st.none(), configs(), st.integers(0, 6))
def test_from_every_prefix_of_an_add_restoring_leads_home(
    link: Link, now: VfAttributes | None, config: NetworkConfig, prefix: int
) -> None:
    kernel, work = machine(link, now)
    before = look(kernel, work)
    kernel.refuse_after = prefix
    with suppress(KernelError):
        apply_steps(plan_add(before, config, ifname="net1", taken=frozenset({"alt"})), work, before)
    kernel.refuse_after = None
    restore(kernel, work, link, now)
    after = look(kernel, work)
    assert set(after.link.altnames) == set(link.altnames)
    # Its number was taken in the pod, so it may have another one now.
    assert replace(after.link, altnames=(), index=0) == replace(link, altnames=(), index=0)
    assert after.attributes == before.attributes


@given(links, told, configs(), st.integers(0, 6))
def test_restoring_that_is_broken_off_is_finished_by_the_next(
    link: Link, now: VfAttributes, config: NetworkConfig, prefix: int
) -> None:
    kernel, work = machine(link, now)
    found = look(kernel, work)
    apply_steps(plan_add(found, config, ifname="net1", taken=frozenset({"alt"})), work, found)
    kernel.refuse_after = kernel.changes + prefix
    try:
        restore(kernel, work, link, now)
    except KernelError:
        kernel.refuse_after = None
        restore(kernel, work, link, now)
    assert look(kernel, work).attributes == now


def restore(kernel: FakeKernel, work: Workplace, link: Link, attributes: VfAttributes | None) -> None:
    """Restore as `cni.restore` does: look, decide, act, until there is nothing to do."""
    for _ in range(3):
        found = look(kernel, work)
        steps = plan_restore(found, home_of(link), attributes or VfAttributes())
        if not steps:
            return
        apply_steps(steps, work, found)
    assert plan_restore(look(kernel, work), home_of(link), attributes or VfAttributes()) == ()


class Stubborn(FakeLinks):
    """A PF whose driver takes VLANs and nothing after them, in the kernel's order."""

    def change_vf(self, pf: int, vf: int, change: VfAttributes) -> None:
        super().change_vf(pf, vf, VfAttributes(mac=change.mac, vlan=change.vlan))
        raise KernelError("VF", f"set {change} of VF {vf}", errno.EINVAL, said="no more of that")


def test_the_refused_attribute_is_named_and_the_driver_too() -> None:
    link = Link(5, "vf0", (), MacAddress(bytes(6)), 1500, up=False, parent=str(VF))
    kernel, work = machine(link, VfAttributes(vlan=VlanTag(0), trust=False, link_state=LinkState.AUTO))
    work = replace(work, home=Stubborn(kernel, HOME), pf_driver="igb")
    with pytest.raises(KernelError) as caught:
        apply_attributes(VfAttributes(vlan=VlanTag(7), trust=True, link_state=LinkState.ENABLE), work)
    assert caught.value.operation == "set link state enable of VF 0"
    assert caught.value.said == "no more of that"
    assert str(caught.value).endswith("(the PF's driver is igb)")


def test_an_attribute_needs_a_pf_with_a_device() -> None:
    link = Link(5, "vf0", (), MacAddress(bytes(6)), 1500, up=False, parent=str(VF))
    _, work = machine(link, VfAttributes())
    with pytest.raises(UnsupportedError, match="its PF has no network device here"):
        _ = replace(work, pf_index=None).pf
