"""Each VF is in one pool at most, healthy or with a reason."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deviceplugin.config import Pool
from deviceplugin.inventory import FORGET_AFTER_S, Inventory, sort_into_pools
from deviceplugin.selector import PfPart, Selector
from sriov.model import PciAddress, Pf, Vf

DRIVERS = st.sampled_from([None, "igbvf", "vfio-pci"])
NAMES = st.sampled_from(["ens1f0", "ens1f1", "ens1f2"])
RANGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)).filter(lambda r: r[0] <= r[1]), max_size=2).map(tuple)


def make_pf(number: int = 0, drivers: tuple[str | None, ...] = ("igbvf", "igbvf")) -> Pf:
    vfs = tuple(Vf(PciAddress(0, number + 1, 0x10, i), i, driver, f"v{i}") for i, driver in enumerate(drivers))
    address = PciAddress(0, number + 1, 0, 0)
    return Pf(
        address, f"ens1f{number}", "igb", "8086", "10c9", number, None, 1500, True, None, len(vfs), 7, vfs, "10ca"
    )


def make_pool(name: str, *selectors: Selector) -> Pool:
    return Pool("example.com", name, selectors, {}, exclude_topology=False)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Pf, ...]:
    return tuple(make_pf(n, tuple(draw(st.lists(DRIVERS, max_size=7)))) for n in range(draw(st.integers(0, 3))))


SELECTORS = st.builds(
    Selector,
    drivers=st.lists(st.sampled_from(["igbvf", "vfio-pci"]), max_size=1).map(tuple),
    pf_names=st.lists(st.builds(PfPart, NAMES, RANGES), max_size=2).map(tuple),
)
POOLS = st.lists(st.lists(SELECTORS, max_size=2), max_size=4).map(
    lambda pools: tuple(make_pool(f"p{n}", *selectors) for n, selectors in enumerate(pools))
)


def ids(inventory: Inventory) -> list[str]:
    return [device.id for devices in inventory.pools.values() for device in devices]


@given(hosts(), hosts(), POOLS)
def test_a_device_is_in_one_pool_only(before: tuple[Pf, ...], now: tuple[Pf, ...], pools: tuple[Pool, ...]) -> None:
    known = sort_into_pools(before, pools, known=Inventory(), now=0)
    found = sort_into_pools(now, pools, known=known, now=1)
    assert len(ids(found)) == len(set(ids(found)))
    assert set(found.pools) == {pool.resource for pool in pools}


@given(hosts(), POOLS)
def test_the_first_pool_that_matches_has_the_device(pfs: tuple[Pf, ...], pools: tuple[Pool, ...]) -> None:
    found = sort_into_pools(pfs, pools, known=Inventory(), now=0)
    for pf in pfs:
        for vf in pf.vfs:
            fits = [p.resource for p in pools if not p.selectors or any(s.matches(pf, vf) for s in p.selectors)]
            assert found.find_pool_of(vf.address) == (fits[0] if fits else None)


@given(hosts(), hosts(), POOLS)
def test_a_healthy_device_is_there_and_has_a_driver(
    before: tuple[Pf, ...], now: tuple[Pf, ...], pools: tuple[Pool, ...]
) -> None:
    known = sort_into_pools(before, pools, known=Inventory(), now=0)
    there = {vf.address: vf for pf in now for vf in pf.vfs}
    for devices in sort_into_pools(now, pools, known=known, now=1).pools.values():
        for device in devices:
            if not device.unhealthy:
                assert there[device.address].driver is not None


@given(hosts(), hosts(), POOLS)
def test_a_device_that_leaves_is_unhealthy_before_it_is_forgotten(
    before: tuple[Pf, ...], now: tuple[Pf, ...], pools: tuple[Pool, ...]
) -> None:
    known = sort_into_pools(before, pools, known=Inventory(), now=0)
    there = {vf.address for pf in now for vf in pf.vfs}
    soon = sort_into_pools(now, pools, known=known, now=1)
    for name, devices in known.pools.items():
        for device in devices:
            if device.address not in there:
                left = [found for found in soon.pools[name] if found.address == device.address]
                assert [found.unhealthy for found in left] == ["the VF is gone"]
    late = sort_into_pools(now, pools, known=soon, now=1 + FORGET_AFTER_S)
    assert {PciAddress.parse(device) for device in ids(late)} <= there


def test_a_vf_that_lost_its_driver_stays_in_its_pool_and_says_why() -> None:
    pool = make_pool("vfs", Selector(drivers=("igbvf",)))
    known = sort_into_pools([make_pf()], [pool], known=Inventory(), now=0)
    found = sort_into_pools([make_pf(0, (None, "vfio-pci"))], [pool], known=known, now=1)
    assert [device.unhealthy for device in found.pools["example.com/vfs"]] == [
        "no driver is bound, the pool wants igbvf",
        "driver vfio-pci is bound, the pool wants igbvf",
    ]


def test_a_vf_that_got_another_pools_driver_goes_there() -> None:
    kernel, user = make_pool("k", Selector(drivers=("igbvf",))), make_pool("u", Selector(drivers=("vfio-pci",)))
    known = sort_into_pools([make_pf(0, ("igbvf",))], [kernel, user], known=Inventory(), now=0)
    found = sort_into_pools([make_pf(0, ("vfio-pci",))], [kernel, user], known=known, now=1)
    assert not found.pools["example.com/k"]
    assert [device.unhealthy for device in found.pools["example.com/u"]] == [""]


def test_a_vf_inside_a_pod_is_as_healthy_as_before() -> None:
    pool, pf = make_pool("vfs"), make_pf()
    known = sort_into_pools([pf], [pool], known=Inventory(), now=0)
    away = replace(pf, vfs=tuple(replace(vf, netdev=None) for vf in pf.vfs))
    assert sort_into_pools([away], [pool], known=known, now=1) == known


def test_a_vf_that_came_back_is_healthy_again() -> None:
    pool, pf = make_pool("vfs"), make_pf()
    known = sort_into_pools([pf], [pool], known=Inventory(), now=0)
    gone = sort_into_pools([], [pool], known=known, now=1)
    assert sort_into_pools([pf], [pool], known=gone, now=2) == known
