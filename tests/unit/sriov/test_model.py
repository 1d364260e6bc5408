"""Addresses that cannot be malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov.errors import InputError
from sriov.model import MacAddress, PciAddress

pci_addresses = st.builds(
    PciAddress, st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7)
)


@given(pci_addresses)
def test_a_pci_address_reads_back_as_itself(address: PciAddress) -> None:
    assert PciAddress.parse(str(address)) == address


@given(st.text())
def test_any_text_is_a_pci_address_or_an_input_error_that_quotes_it(text: str) -> None:
    try:
        address = PciAddress.parse(text)
    except InputError as error:
        assert repr(text) in str(error)
    else:
        assert PciAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["3b:02.1", "0000:3b:02.8", "0000:3b:20.0", "0000:3b:02.1 ", "٠000:3b:02.1", "0000:3b:02.1\n"]
)
def test_what_only_looks_like_a_pci_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a PCI address"):
        PciAddress.parse(text)


def test_the_error_names_the_field() -> None:
    with pytest.raises(InputError, match=r"^deviceID: 'x' is not a PCI address"):
        PciAddress.parse("x", subject="deviceID")


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_address_reads_back_as_itself(octets: bytes) -> None:
    assert MacAddress.parse(str(MacAddress(octets))).octets == octets
    assert MacAddress.parse(octets.hex("-").upper()).octets == octets


@pytest.mark.parametrize("text", ["01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"])
def test_an_interface_needs_a_unicast_address(text: str) -> None:
    with pytest.raises(InputError, match="not a unicast"):
        MacAddress.parse_unicast(text)


@given(st.text())
def test_any_text_is_a_mac_address_or_an_input_error(text: str) -> None:
    try:
        assert len(MacAddress.parse(text).octets) == 6
    except InputError as error:
        assert repr(text) in str(error)
