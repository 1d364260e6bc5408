"""Network links, the attributes a PF keeps of its VFs, addresses and routes: as values, in the words of rtnetlink. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum

from sriov.document import Address, Interface, Network
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
        for part in fields(self):
            wanted = getattr(self, part.name)
            if wanted is not None and wanted != getattr(now, part.name):
                changed[part.name] = wanted
        return VfAttributes(**changed)  # type: ignore[arg-type]  # each value comes from the field of the same name

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return self == VfAttributes()

    def phrases(self) -> tuple[str, ...]:
        """Name what is given, in the order in which the kernel sets it (net/core/rtnetlink.c, ``do_setvfinfo``)."""
        said = (
            f"MAC {self.mac}" if self.mac is not None else "",
            f"VLAN {self.vlan.vlan} (qos {self.vlan.qos}, {self.vlan.protocol})" if self.vlan is not None else "",
            f"rates {self.rates.minimum} to {self.rates.maximum} Mbit/s" if self.rates is not None else "",
            f"spoofchk {_on(on=self.spoofchk)}" if self.spoofchk is not None else "",
            f"link state {self.link_state}" if self.link_state is not None else "",
            f"trust {_on(on=self.trust)}" if self.trust is not None else "",
        )
        return tuple(part for part in said if part)

    def __str__(self) -> str:
        return ", ".join(self.phrases())


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
    carrier: bool = field(default=False, compare=False)
    """Whether frames get through. It comes and goes by itself, so two readings of one link are equal without it."""


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
class LinkAddress:
    """An address that a link has, and what has become of it."""

    address: Interface
    scope: int
    """As in ``RT_SCOPE_*``: 0 is the universe, 253 the link."""
    permanent: bool
    """Whether it stays until somebody removes it; false for one that was learnt and will expire."""
    tentative: bool
    """Whether IPv6 still asks the network for it; it is not usable until then."""
    duplicate: bool
    """Whether somebody else answered for it (``IFA_F_DADFAILED``): it stays, and is never usable."""


MAIN_TABLE = 254
"""RT_TABLE_MAIN, where a route without `table` goes."""


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
    """As in ``RT_SCOPE_*``; None: the link for a route without gateway, else the universe. IPv6 has the universe only."""
    on_link: bool = False
    """Whether the gateway is taken to be on the link though no route of the link says so (``RTNH_F_ONLINK``)."""

    def is_met_by(self, found: Route) -> bool:
        """Tell whether `found`, as read from the kernel, is this route; what is None here may be anything there."""
        if (self.to, self.gateway, self.table or MAIN_TABLE) != (found.to, found.gateway, found.table or MAIN_TABLE):
            return False
        asked = ((self.mtu, found.mtu), (self.advmss, found.advmss), (self.priority, found.priority))
        # IPv6 forgets the scope, whatever is asked for (net/ipv6/route.c).
        scopes = () if self.to.version == 6 else ((self.scope, found.scope),)
        return all(wanted in (None, now) for wanted, now in (*asked, *scopes))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent entry of the neighbour table: nobody has to be asked for this address."""

    address: Address
    mac: MacAddress


def _on(*, on: bool) -> str:
    return "on" if on else "off"
