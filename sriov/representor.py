"""Which port a representor stands for: the grammar of ``phys_port_name``, and finding one among many.

The kernel writes the name in net/devlink/port.c (``__devlink_port_phys_port_name_get``, Linux 6.12): ``p0`` for an
uplink, ``[c1]pf0`` for a PF, ``[c1]pf0vf3`` for a VF, ``[c1]pf0sf88`` for an SF. The controller is written for external
ones only, and is part of the identity: ``c1pf0vf3`` and ``c2pf0vf3`` are VFs of two different hosts. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from sriov.errors import BusyError, NotFoundError

_NUMBER = r"(0|[1-9][0-9]*)"
_FUNCTION_PORT = re.compile(rf"(?:c{_NUMBER})?pf{_NUMBER}(?:(vf|sf){_NUMBER})?")
_UPLINK = re.compile(rf"p{_NUMBER}(?:s{_NUMBER})?")


class Flavour(StrEnum):
    """What a port of the eswitch leads to; the spelling is devlink's."""

    PHYSICAL = "physical"
    PCI_PF = "pcipf"
    PCI_VF = "pcivf"
    PCI_SF = "pcisf"


@dataclass(frozen=True, order=True, slots=True)
class VfPort:
    """The VF a representor stands for; the controller is part of its identity."""

    controller: int
    pf: int
    vf: int

    def __str__(self) -> str:
        return f"c{self.controller}pf{self.pf}vf{self.vf}" if self.controller else f"pf{self.pf}vf{self.vf}"


@dataclass(frozen=True, slots=True)
class PortName:
    """What a ``phys_port_name`` says. `number` is the VF's, SF's or uplink's; None for a PF."""

    flavour: Flavour
    controller: int = 0
    pf: int = 0
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a ``phys_port_name``; None when it follows no form of the kernel's."""
        if match := _UPLINK.fullmatch(text):
            return cls(Flavour.PHYSICAL, number=int(match[1]))
        if not (match := _FUNCTION_PORT.fullmatch(text)):
            return None
        controller, pf, kind, number = match.groups()
        flavour = {None: Flavour.PCI_PF, "vf": Flavour.PCI_VF, "sf": Flavour.PCI_SF}[kind]
        return cls(flavour, int(controller or 0), int(pf), None if number is None else int(number))


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """A port of an eswitch and its network device, as devlink or sysfs shows them."""

    switch_id: str
    name: PortName
    netdev: str
    ifindex: int

    @property
    def vf_port(self) -> VfPort | None:
        """The VF it stands for, None when it is no VF's."""
        if self.name.flavour is not Flavour.PCI_VF or self.name.number is None:
            return None
        return VfPort(self.name.controller, self.name.pf, self.name.number)


def choose_representor(ports: Iterable[SwitchPort], wanted: VfPort, *, switch_id: str | None = None) -> SwitchPort:
    """Return the one port that stands for the `wanted` VF, on the eswitch `switch_id` when that is given.

    Raises:
        NotFoundError: none does; the text lists the VFs that have one.
        BusyError: several do, so that none may be taken; the text names them and their switch ids.
    """
    ports = tuple(ports)
    fits = [port for port in ports if port.vf_port == wanted and switch_id in (None, port.switch_id)]
    if len(fits) == 1:
        return fits[0]
    where = f" on switch {switch_id}" if switch_id else ""
    if fits:
        seen = ", ".join(f"{port.netdev} of switch {port.switch_id}" for port in fits)
        raise BusyError(
            f"VF {wanted}",
            f"has {len(fits)} representors{where}: {seen}",
            hint="name the switch in the agent's configuration (switchId)",
        )
    seen = ", ".join(sorted(f"{port.vf_port} ({port.netdev})" for port in ports if port.vf_port)) or "none at all"
    raise NotFoundError(
        f"VF {wanted}",
        f"has no representor{where}; seen: {seen}",
        hint="the PF must be in switchdev mode, with this VF created",
    )
