"""Network links, the attributes a PF keeps of its VFs, addresses and routes: as values, in the words of rtnetlink. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from sriov.document import Address, Network
from sriov.model import MacAddress


class LinkState(StrEnum):
    """What a VF's link follows: the PF's own (``auto``), or nothing (always up, always down)."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class VlanProtocol(StrEnum):
    """The kind of tag a PF puts on a VF's frames: customer or service tag (IEEE 802.1Q)."""

    CUSTOMER = "802.1q"
    SERVICE = "802.1ad"


@dataclass(frozen=True, slots=True)
class VlanTag:
    """The tag a PF puts on a VF's frames; VLAN 0 without priority is none."""

    vlan: int
    qos: int = 0
    protocol: VlanProtocol = VlanProtocol.CUSTOMER


@dataclass(frozen=True, slots=True)
class Rates:
    """The least and the most a VF may send, in Mbit/s; 0 is no limit."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class VfAttributes:
    """What a PF keeps about one VF (``IFLA_VF_*``).

    None stands for an attribute the driver does not tell, or, in a change, for one to leave alone.
    """

    mac: MacAddress | None = None
    """The administrative MAC address; all zero when none is set. Some drivers show the VF's own here."""
    vlan: VlanTag | None = None
    spoofchk: bool | None = None
    trust: bool | None = None
    link_state: LinkState | None = None
    rates: Rates | None = None

    def difference(self, now: VfAttributes) -> VfAttributes:
        """Return what must be written to come from `now` to these; what is None here is left alone."""
        changed: dict[str, object] = {}
        for field in fields(self):
            wanted = getattr(self, field.name)
            if wanted is not None and wanted != getattr(now, field.name):
                changed[field.name] = wanted
        return VfAttributes(**changed)  # type: ignore[arg-type]  # each value comes from the field of the same name

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return self == VfAttributes()


@dataclass(frozen=True, slots=True)
class Link:
    """A network device as its namespace shows it."""

    index: int
    name: str
    altnames: tuple[str, ...]
    mac: MacAddress | None
    mtu: int
    up: bool
    parent: str | None
    """The bus address of its device, for a VF its PCI address; None for software devices and before Linux 5.14."""


@dataclass(frozen=True, slots=True)
class LinkChange:
    """What to change on a link in one message; None leaves a thing alone."""

    name: str | None = None
    mac: MacAddress | None = None
    mtu: int | None = None
    up: bool | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to change."""
        return self == LinkChange()


@dataclass(frozen=True, slots=True)
class Route:
    """A route through one link. Without `gateway` the destination is on that link."""

    to: Network
    gateway: Address | None = None
    mtu: int | None = None
    """The largest packet on this route, in octets; None: the link's."""
    advmss: int | None = None
    """The largest TCP segment to advertise, in octets."""
    priority: int | None = None
    table: int | None = None
    scope: int | None = None
    """As in ``RT_SCOPE_*``; None: the link for a route without gateway, else the universe."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent entry of the neighbour table: nobody has to be asked for this address."""

    address: Address
    mac: MacAddress
