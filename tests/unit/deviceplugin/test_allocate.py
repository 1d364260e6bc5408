"""What containers are told, and which devices they had best be given."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deviceplugin.allocate import (
    check_usable,
    name_device_file,
    prefer,
    render_device_file,
    render_environment,
)
from deviceplugin.config import Pool
from deviceplugin.inventory import Device
from sriov.errors import BusyError, InputError, NotFoundError
from sriov.model import PciAddress

POOL = Pool("example.com", "fast-vfs", (), {"*": {"rack": "r1"}, "0000:01:10.1": {"rack": "r2", "port": "0"}}, False)


def make_device(pf: int, vf: int, *, numa: int | None = None, unhealthy: str = "") -> Device:
    return Device(PciAddress(0, pf, 0x10, vf), vf, PciAddress(0, pf, 0, 0), numa, unhealthy)


@st.composite
def choices(draw: st.DrawFn) -> tuple[list[Device], list[str], list[str], int]:
    spots = draw(st.sets(st.tuples(st.integers(1, 4), st.integers(0, 7)), min_size=1, max_size=12))
    devices = [make_device(pf, vf, numa=pf // 2) for pf, vf in sorted(spots)]
    available = draw(st.permutations([device.id for device in devices]))
    required = draw(st.lists(st.sampled_from(available), unique=True))
    return devices, available, required, draw(st.integers(len(required), len(available)))


@given(choices())
def test_a_preference_is_of_the_available_holds_the_required_and_has_the_size(
    choice: tuple[list[Device], list[str], list[str], int],
) -> None:
    devices, available, required, count = choice
    chosen = prefer(available, required=required, count=count, devices=devices)
    assert len(chosen) == len(set(chosen)) == count
    assert set(required) <= set(chosen) <= set(available)


@given(choices())
def test_a_preference_does_not_depend_on_the_order_of_what_is_available(
    choice: tuple[list[Device], list[str], list[str], int],
) -> None:
    devices, available, required, count = choice
    one = prefer(available, required=required, count=count, devices=devices)
    assert one == prefer(sorted(available), required=required, count=count, devices=devices)


def test_devices_of_one_pf_are_preferred_and_a_pf_with_room_for_all() -> None:
    devices = [make_device(1, 0), make_device(2, 0), make_device(2, 1), make_device(3, 0), make_device(3, 1)]
    devices.append(make_device(3, 2))
    available = [device.id for device in devices]
    assert prefer(available, required=[], count=2, devices=devices) == ["0000:02:10.0", "0000:02:10.1"]
    assert prefer(available, required=[], count=1, devices=devices) == ["0000:01:10.0"]
    assert prefer(available, required=["0000:03:10.1"], count=2, devices=devices) == ["0000:03:10.1", "0000:03:10.0"]


def test_the_same_numa_node_is_next_best() -> None:
    devices = [make_device(1, 0, numa=0), make_device(2, 0, numa=1), make_device(3, 0, numa=1)]
    available = [device.id for device in devices]
    assert prefer(available, required=[available[2]], count=2, devices=devices) == [available[2], available[1]]


@pytest.mark.parametrize(("required", "count"), [([], 3), (["0000:01:10.0", "0000:01:10.1"], 1)])
def test_an_impossible_size_is_refused(required: list[str], count: int) -> None:
    devices = [make_device(1, 0), make_device(1, 1)]
    with pytest.raises(InputError, match="cannot be chosen"):
        prefer([device.id for device in devices], required=required, count=count, devices=devices)


def test_only_healthy_devices_of_the_pool_are_usable() -> None:
    devices = [make_device(1, 0), make_device(1, 1, unhealthy="no driver is bound")]
    assert check_usable(["0000:01:10.0"], devices, pool=POOL) == (devices[0],)
    with pytest.raises(BusyError, match="cannot be used: no driver is bound"):
        check_usable(["0000:01:10.0", "0000:01:10.1"], devices, pool=POOL)
    with pytest.raises(NotFoundError, match=r"0000:01:10\.7: is not in the pool example\.com/fast-vfs"):
        check_usable(["0000:01:10.7"], devices, pool=POOL)


def test_the_environment_has_the_peers_names_and_ones_that_shells_can_use() -> None:
    environment = render_environment([make_device(1, 0), make_device(1, 1)], pool=POOL)
    ids = "0000:01:10.0,0000:01:10.1"
    assert environment["PCIDEVICE_EXAMPLE_COM_FAST-VFS"] == ids
    assert environment["PCIDEVICE_EXAMPLE_COM_FAST_VFS"] == ids
    assert environment["PCIDEVICE_EXAMPLE_COM_FAST-VFS_INFO"] == environment["PCIDEVICE_EXAMPLE_COM_FAST_VFS_INFO"]
    assert json.loads(environment["PCIDEVICE_EXAMPLE_COM_FAST_VFS_INFO"]) == {
        "0000:01:10.0": {"generic": {"deviceID": "0000:01:10.0"}, "extra": {"rack": "r1"}},
        "0000:01:10.1": {"generic": {"deviceID": "0000:01:10.1"}, "extra": {"rack": "r2", "port": "0"}},
    }


def test_a_name_without_hyphen_needs_no_second_one() -> None:
    plain = Pool("example.com", "vfs", (), {}, exclude_topology=False)
    environment = render_environment([make_device(1, 0)], pool=plain)
    assert sorted(environment) == ["PCIDEVICE_EXAMPLE_COM_VFS", "PCIDEVICE_EXAMPLE_COM_VFS_INFO"]
    assert json.loads(environment["PCIDEVICE_EXAMPLE_COM_VFS_INFO"]) == {
        "0000:01:10.0": {"generic": {"deviceID": "0000:01:10.0"}}
    }


def test_a_device_file_is_named_and_written_as_the_specification_says() -> None:
    assert name_device_file("example.com/vfs", "0000:01:10.0") == "example.com-vfs-0000:01:10.0-device.json"
    assert json.loads(render_device_file(make_device(1, 0))) == {
        "type": "pci",
        "version": "1.1.0",
        "pci": {"pci-address": "0000:01:10.0", "pf-pci-address": "0000:01:00.0"},
    }
