"""The selectors of the device plugin's configuration, as values that tell whether they take a VF. Pure.

The grammar is sriov-network-device-plugin's: keys of one selector must all hold, one of each key's values must, and one
selector of a pool's list must. A PF is named as ``ens1f0`` or with VF indexes as ``ens1f0#0,2-7``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from sriov.document import Section
from sriov.errors import InputError
from sriov.model import PciAddress, Pf, Vf

_INDEXES = re.compile(r"[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?)*")
_HEX_ID = re.compile(r"(?:0[xX])?([0-9a-fA-F]{4})")

# Known to sriov-network-device-plugin, not done here yet. An empty value or false selects nothing there, so it may stand.
_LATER = ("acpiIndexes", "linkTypes", "ddpProfiles", "pKeys", "isRdma", "needVhostNet", "vdpaType", "auxTypes")


@dataclass(frozen=True, slots=True)
class PfPart:
    """A PF by name or by PCI address, and which of its VFs; all of them when `ranges` is empty."""

    pf: str
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``ens1f0`` or ``ens1f0#0,2-7``.

        Raises:
            InputError: `text` is anything else.
        """
        pf, mark, indexes = text.partition("#")
        hint = "write it as ens1f0 or ens1f0#0,2-7"
        if not pf or (mark and _INDEXES.fullmatch(indexes) is None):
            raise InputError("PF", f"{text!r} does not name a PF and VF indexes", hint=hint)
        ranges = []
        for part in indexes.split(",") if mark else ():
            first, _, last = part.partition("-")
            ranges.append((int(first), int(last or first)))
            if ranges[-1][0] > ranges[-1][1]:
                raise InputError("PF", f"{text!r} has the range {part}, which ends before it begins", hint=hint)
        return cls(pf, tuple(ranges))

    @classmethod
    def parse_root_device(cls, text: str) -> Self:
        """Read a PF's PCI address, with or without VF indexes: ``0000:3b:00.0#0-3``.

        Raises:
            InputError: `text` is anything else.
        """
        part = cls.parse(text)
        return cls(str(PciAddress.parse(part.pf)), part.ranges)

    def takes(self, index: int) -> bool:
        """Tell whether the VF with this index is meant."""
        return not self.ranges or any(first <= index <= last for first, last in self.ranges)

    def __str__(self) -> str:
        indexes = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)
        return f"{self.pf}#{indexes}" if indexes else self.pf


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector: every key that has values must fit; a key without values fits every VF."""

    vendors: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    pci_addresses: tuple[PciAddress, ...] = ()
    pf_names: tuple[PfPart, ...] = ()
    root_devices: tuple[PfPart, ...] = ()

    def matches(self, pf: Pf, vf: Vf) -> bool:
        """Tell whether `vf` of `pf` is selected."""
        return self.matches_but_driver(pf, vf) and (not self.drivers or vf.driver in self.drivers)

    def matches_but_driver(self, pf: Pf, vf: Vf) -> bool:
        """Tell whether `vf` would be selected if it had the right driver."""
        return (
            (not self.vendors or pf.vendor in self.vendors)
            and (not self.devices or pf.vf_device in self.devices)
            and (not self.pci_addresses or vf.address in self.pci_addresses)
            and (not self.pf_names or _any_part(self.pf_names, pf.netdev, vf))
            and (not self.root_devices or _any_part(self.root_devices, str(pf.address), vf))
        )


def _any_part(parts: tuple[PfPart, ...], pf: str | None, vf: Vf) -> bool:
    return any(part.pf == pf and part.takes(vf.index) for part in parts)


def parse_hex_id(text: str) -> str:
    """Read a PCI vendor or device id, ``8086``; the result is in lower case.

    Raises:
        InputError: `text` is anything else.
    """
    match = _HEX_ID.fullmatch(text)
    if match is None:
        raise InputError("PCI id", f"{text!r} is not a PCI id", hint="write four hexadecimal digits, as lspci -n does")
    return match[1].lower()


def parse_selector(section: Section) -> Selector:
    """Read one selector; faults are noted in the section's document."""
    word: Callable[[str], str] = str
    selector = Selector(
        vendors=section.parsed_list("vendors", parse_hex_id),
        devices=section.parsed_list("devices", parse_hex_id),
        drivers=section.parsed_list("drivers", word),
        pci_addresses=section.parsed_list("pciAddresses", PciAddress.parse),
        pf_names=section.parsed_list("pfNames", PfPart.parse),
        root_devices=section.parsed_list("rootDevices", PfPart.parse_root_device),
    )
    refuse_later_keys(section, _LATER)
    section.finish()
    return selector


def refuse_later_keys(section: Section, keys: tuple[str, ...]) -> None:
    """Note a fault for each of `keys` that asks for something this version cannot do yet."""
    section.ignore(*keys)
    for key in keys:
        if section.asks_for(key):
            section.faults.add(section.at(key), "is not supported yet", hint="remove the key; it would have no effect")
