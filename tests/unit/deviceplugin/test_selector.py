"""Selectors take the VFs their keys say, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deviceplugin.selector import PfPart, Selector, parse_hex_id, parse_selector
from sriov.document import Faults, Section
from sriov.errors import InputError
from sriov.model import PciAddress, Pf, Vf

RANGES = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: (min(pair), max(pair)))


def make_pf(netdev: str | None = "ens1f0", address: str = "0000:01:00.0") -> Pf:
    return Pf(PciAddress.parse(address), netdev, "igb", "8086", "10c9", None, None, 1500, True, None, 1, 7, (), "10ca")


def make_vf(index: int = 0, driver: str | None = "igbvf") -> Vf:
    return Vf(PciAddress(0, 1, 0x10, index % 8), index, driver, None)


def parse(selector: dict[str, object]) -> Selector:
    faults = Faults()
    found = parse_selector(Section(selector, path="selectors[0]", faults=faults))
    faults.raise_if_any()
    return found


@given(st.text("abc0_.@", min_size=1), st.lists(RANGES, max_size=4).map(tuple))
def test_a_pf_with_indexes_reads_as_it_is_written(pf: str, ranges: tuple[tuple[int, int], ...]) -> None:
    part = PfPart(pf, ranges)
    assert PfPart.parse(str(part)) == part


@given(st.lists(RANGES, min_size=1, max_size=4).map(tuple), st.integers(0, 301))
def test_indexes_select_what_their_ranges_hold(ranges: tuple[tuple[int, int], ...], index: int) -> None:
    by_force = {n for first, last in ranges for n in range(first, last + 1)}
    assert PfPart("pf", ranges).takes(index) == (index in by_force)


@pytest.mark.parametrize("text", ["", "#1", "pf#", "pf#a", "pf#1-", "pf#3-1", "pf#1,,2", "pf#1-2-3", "pf#٣"])
def test_other_texts_name_no_pf(text: str) -> None:
    with pytest.raises(InputError, match="PF"):
        PfPart.parse(text)


def test_a_root_device_is_a_pci_address() -> None:
    assert PfPart.parse_root_device("0000:3B:00.0#0-3") == PfPart("0000:3b:00.0", ((0, 3),))
    with pytest.raises(InputError, match="PCI address"):
        PfPart.parse_root_device("ens1f0")


@pytest.mark.parametrize(("text", "value"), [("8086", "8086"), ("0x15B3", "15b3")])
def test_ids_are_four_hex_digits(text: str, value: str) -> None:
    assert parse_hex_id(text) == value


@pytest.mark.parametrize("text", ["808", "80866", "intel", ""])
def test_other_ids_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a PCI id"):
        parse_hex_id(text)


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({}, True),
        ({"vendors": ["8086", "15b3"]}, True),
        ({"vendors": ["15b3"]}, False),
        ({"devices": ["10ca"]}, True),
        ({"devices": ["10c9"]}, False),
        ({"drivers": ["igbvf", "iavf"]}, True),
        ({"drivers": ["vfio-pci"]}, False),
        ({"pciAddresses": ["0000:01:10.2"]}, True),
        ({"pciAddresses": ["0000:01:10.3"]}, False),
        ({"pfNames": ["ens1f0"]}, True),
        ({"pfNames": ["ens1f1", "ens1f0#2-3"]}, True),
        ({"pfNames": ["ens1f0#3"]}, False),
        ({"rootDevices": ["0000:01:00.0#0,2"]}, True),
        ({"rootDevices": ["0000:01:00.1"]}, False),
        ({"vendors": ["8086"], "pfNames": ["ens1f0#2"]}, True),
        ({"vendors": ["8086"], "pfNames": ["ens1f0#1"]}, False),
        ({"isRdma": False, "linkTypes": [], "vdpaType": ""}, True),
    ],
)
def test_keys_must_all_fit_and_one_value_of_each(selector: dict[str, object], fits: bool) -> None:
    assert parse(selector).matches(make_pf(), make_vf(2)) is fits


def test_a_pf_without_network_device_has_no_name_to_select_by() -> None:
    assert not parse({"pfNames": ["None"]}).matches(make_pf(netdev=None), make_vf())


def test_a_lost_driver_can_be_overlooked() -> None:
    selector = parse({"drivers": ["igbvf"]})
    assert not selector.matches(make_pf(), make_vf(driver=None))
    assert selector.matches_but_driver(make_pf(), make_vf(driver=None))


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"isRdma": True}, "selectors[0].isRdma: is not supported yet"),
        ({"linkTypes": ["ether"]}, "selectors[0].linkTypes: is not supported yet"),
        ({"vendor": ["8086"]}, "did you mean 'vendors'?"),
        ({"vendors": [8086]}, "8086 is an integer, must be a text"),
        ({"vendors": "8086"}, "is a text, must be a list"),
    ],
)
def test_what_cannot_be_followed_is_said(selector: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as error:
        parse(selector)
    assert said in str(error.value)
