"""The record of one attachment as a value, and its form on disk. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cni.request import AttachmentId
from sriov.document import Faults, Section
from sriov.errors import InputError
from sriov.link import LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MacAddress, PciAddress

FORMAT = 1


class Phase(StrEnum):
    """How far an ADD has come. Restoring works from either; the phase is for people and for telling crashes."""

    PLANNED = "planned"
    DONE = "done"


class Kind(StrEnum):
    """How a VF is given to a pod."""

    NETDEV = "netdev"
    """As a network device, which moves into the pod."""
    USERSPACE = "userspace"
    """As a PCI function, to a program (vfio-pci and the like): nothing moves, its PF's attributes are all there is."""


@dataclass(frozen=True, slots=True)
class Home:
    """How the VF's network device was before the pod."""

    index: int
    """Its link number; in the pod the same, unless that was taken there."""
    name: str
    altnames: tuple[str, ...]
    mac: MacAddress
    mtu: int
    up: bool
    tells_parent: bool
    """Whether the kernel tells of which device a link is, so that nothing else can be taken for this one."""

    @classmethod
    def nowhere(cls) -> Home:
        """Return what stands for a VF that has no network device."""
        return cls(0, "", (), MacAddress(bytes(6)), 0, up=False, tells_parent=False)


@dataclass(frozen=True, slots=True)
class Call:
    """What must be said to release the addresses when no runtime says it."""

    ipam: str | None
    version: str
    args: str
    path: str
    stdin: str


@dataclass(frozen=True, slots=True)
class Record:
    """One attachment."""

    attachment: AttachmentId
    network: str
    vf: PciAddress
    netns: str
    netns_inode: int
    phase: Phase
    boot: str
    """The boot it belongs to: after another one the VF is new, and there is nothing to restore."""
    home: Home
    attributes: VfAttributes
    """What the PF kept of the VF before."""
    call: Call
    mac: str = ""
    ips: tuple[str, ...] = ()
    kind: Kind = Kind.NETDEV
    rdma: str = ""
    """The RDMA device that goes along with the network device; empty when none does."""

    def finished(self, *, index: int, mac: str, ips: tuple[str, ...]) -> Record:
        """Return the record of the attachment once it stands."""
        return replace(self, phase=Phase.DONE, home=replace(self.home, index=index), mac=mac, ips=ips)


# -- the file's format -------------------------------------------------------------------------------------------------


def render_record(record: Record) -> bytes:
    """Render a record as the JSON that stands on disk."""
    said = {
        "format": FORMAT,
        "containerID": record.attachment.container,
        "ifname": record.attachment.ifname,
        "network": record.network,
        "vf": str(record.vf),
        "netns": {"path": record.netns, "inode": record.netns_inode},
        "phase": record.phase,
        "boot": record.boot,
        "home": {
            "index": record.home.index,
            "name": record.home.name,
            "altnames": list(record.home.altnames),
            "mac": str(record.home.mac),
            "mtu": record.home.mtu,
            "up": record.home.up,
            "tells_parent": record.home.tells_parent,
        },
        "attributes": _render_attributes(record.attributes),
        "call": {
            "ipam": record.call.ipam,
            "cniVersion": record.call.version,
            "args": record.call.args,
            "path": record.call.path,
            "stdin": record.call.stdin,
        },
        "mac": record.mac,
        "ips": list(record.ips),
        "kind": record.kind,
        "rdma": record.rdma,
    }
    return json.dumps(said, indent=1).encode("ascii") + b"\n"


def _render_attributes(attributes: VfAttributes) -> Mapping[str, object]:
    said: dict[str, object | None] = {
        "mac": None if attributes.mac is None else str(attributes.mac),
        "spoofchk": attributes.spoofchk,
        "trust": attributes.trust,
        "link_state": attributes.link_state,
    }
    if attributes.vlan is not None:
        said |= {"vlan": attributes.vlan.vlan, "vlanQoS": attributes.vlan.qos, "vlanProto": attributes.vlan.protocol}
    if attributes.rates is not None:
        said |= {"min_tx_rate": attributes.rates.minimum, "max_tx_rate": attributes.rates.maximum}
    return {key: value for key, value in said.items() if value is not None}


def parse_record(text: bytes) -> Record:
    """Read what `render_record` wrote.

    Raises:
        InputError: `text` is anything else, or of a later format.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("record", f"is not JSON: {error}") from None
    faults = Faults()
    section = Section(document, path="", faults=faults)
    if section.integer("format") != FORMAT:
        raise InputError("format", f"is {section.integer('format')}, not {FORMAT}", hint="another version wrote it")
    record = _parse_record(section)
    faults.raise_if_any()
    return record


# Guessed wrong, one of these would lose a VF: taken for another boot's, or for that of an ADD that died.
_NEEDED = ("containerID", "ifname", "network", "netns", "phase", "boot", "home", "attributes", "call")


def _parse_record(section: Section) -> Record:
    vf = section.required("vf", section.parsed("vf", PciAddress.parse))
    netns = section.section("netns") or Section({}, path="netns", faults=section.faults)
    for key in _NEEDED:
        section.required(key, None)
    return Record(
        attachment=AttachmentId(section.text("containerID") or "", section.text("ifname") or ""),
        network=section.text("network") or "",
        vf=vf or PciAddress(0, 0, 0, 0),
        netns=netns.text("path") or "",
        netns_inode=netns.integer("inode") or 0,
        phase=Phase(section.choice("phase", tuple(Phase), Phase.PLANNED) or Phase.PLANNED),
        boot=section.text("boot") or "",
        home=_parse_home(_part(section, "home")),
        attributes=_parse_attributes(_part(section, "attributes")),
        call=_parse_call(_part(section, "call")),
        mac=section.text("mac") or "",
        ips=section.parsed_list("ips", str),
        # Records of versions that knew one kind only do not say it.
        kind=Kind(section.choice("kind", tuple(Kind), Kind.NETDEV) or Kind.NETDEV),
        rdma=section.text("rdma") or "",
    )


def _part(section: Section, key: str) -> Section:
    return section.section(key) or Section({}, path=key, faults=section.faults)


def _parse_home(section: Section) -> Home:
    for key in ("index", "up", "tells_parent"):
        section.required(key, None)
    mac = section.required("mac", section.parsed("mac", MacAddress.parse))
    return Home(
        index=section.integer("index") or 0,
        name=section.required("name", section.text("name")) or "",
        altnames=section.parsed_list("altnames", str),
        mac=mac or MacAddress(bytes(6)),
        mtu=section.required("mtu", section.integer("mtu")) or 0,
        up=section.boolean("up"),
        tells_parent=section.boolean("tells_parent"),
    )


def _parse_attributes(section: Section) -> VfAttributes:
    vlan, state = section.integer("vlan"), section.choice("link_state", tuple(LinkState))
    protocol = VlanProtocol(section.choice("vlanProto", tuple(VlanProtocol)) or VlanProtocol.CUSTOMER)
    minimum, maximum = section.integer("min_tx_rate"), section.integer("max_tx_rate")
    return VfAttributes(
        mac=section.parsed("mac", MacAddress.parse),
        vlan=None if vlan is None else VlanTag(vlan, section.integer("vlanQoS") or 0, protocol),
        spoofchk=section.boolean("spoofchk") if section.has("spoofchk") else None,
        trust=section.boolean("trust") if section.has("trust") else None,
        link_state=None if state is None else LinkState(state),
        rates=None if minimum is None or maximum is None else Rates(minimum, maximum),
    )


def _parse_call(section: Section) -> Call:
    return Call(
        ipam=section.text("ipam"),
        version=section.text("cniVersion") or "",
        args=section.text("args") or "",
        path=section.text("path") or "",
        stdin=section.text("stdin") or "",
    )
