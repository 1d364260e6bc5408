"""Policies in the shape of the SR-IOV network operator's SriovNetworkNodePolicy. Pure.

The operator's custom resource (``sriovnetwork.openshift.io/v1``) as it stands in a file: one document each, several
documents, or a ``kind: List``. A key of the resource that this version cannot follow is a fault, never ignored;
``nodeSelector`` is read over, because the file is this node's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from deviceplugin.selector import PfPart, parse_hex_id, refuse_later_keys
from sriov.document import Faults, Section
from sriov.errors import InputError
from sriov.model import MTU_MAX, MTU_MIN, PciAddress, Pf

API_VERSION = "sriovnetwork.openshift.io/v1"
KIND = "SriovNetworkNodePolicy"

PRIORITY_LOWEST = 99
_LATER = ("isRdma", "needVhostNet", "vdpaType", "excludeTopology", "bridge")


@dataclass(frozen=True, slots=True)
class NicSelector:
    """Which PFs a policy is for; keys that have values must all fit, one of each key's values must."""

    vendor: str | None
    device: str | None
    pf_names: tuple[PfPart, ...]
    root_devices: tuple[PciAddress, ...]

    def find_part(self, pf: Pf) -> PfPart | None:
        """Return how the selector names `pf`, with its VF indexes; None when it does not select it."""
        named = [part for part in self.pf_names if part.pf == pf.netdev]
        fits = (
            self.vendor in {None, pf.vendor}
            and self.device in {None, pf.device}
            and (not self.pf_names or named)
            and (not self.root_devices or pf.address in self.root_devices)
        )
        if not fits:
            return None
        return named[0] if named else PfPart(pf.netdev or str(pf.address), ())

    def __str__(self) -> str:
        words = {
            "vendor": self.vendor,
            "deviceID": self.device,
            "pfNames": ",".join(map(str, self.pf_names)),
            "rootDevices": ",".join(map(str, self.root_devices)),
        }
        return " ".join(f"{key}={value}" for key, value in words.items() if value)


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; `place` is where its author finds it, `mtu` is in octets, None leaves it as it is."""

    name: str
    place: str
    resource: str
    priority: int
    selector: NicSelector
    num_vfs: int
    mtu: int | None
    eswitch_mode: str | None
    externally_managed: bool

    def at(self, field: str) -> str:
        """Name the place of a field of its ``spec``."""
        return f"{self.place} (policy {self.name}).spec.{field}"


def parse_policies(documents: Iterable[object], *, source: str) -> tuple[Policy, ...]:
    """Read the policies in `documents`.

    Raises:
        InputError: something in them is wrong; the text names every fault.
    """
    faults = Faults()
    policies = tuple(
        policy for place, item in _flatten(documents, source) if (policy := _parse_policy(item, place, faults))
    )
    seen: set[str] = set()
    for policy in policies:
        if policy.name in seen:
            faults.add(f"{policy.place} metadata.name", f"{policy.name!r} is given twice", hint="rename one of the two")
        seen.add(policy.name)
    faults.raise_if_any()
    if not policies:
        raise InputError(source, "has no policy in it", hint=f"write one of kind {KIND}")
    return policies


def _flatten(documents: Iterable[object], source: str) -> Iterator[tuple[str, object]]:
    documents = tuple(documents)
    for number, document in enumerate(documents, start=1):
        place = f"{source}:" if len(documents) == 1 else f"{source}: document {number}"
        if isinstance(document, Mapping) and document.get("kind") in {"List", f"{KIND}List"}:
            items = document.get("items")
            for index, item in enumerate(items if isinstance(items, list) else [items]):
                yield f"{place} items[{index}]", item
        else:
            yield place, document


def _parse_policy(document: object, place: str, faults: Faults) -> Policy | None:
    before = len(faults.errors)
    section = Section(document, path=place, faults=faults)
    if not isinstance(document, Mapping):
        return None
    section.required("apiVersion", section.choice("apiVersion", (API_VERSION,)))
    section.required("kind", section.choice("kind", (KIND,)))
    section.ignore("status")
    metadata = section.required("metadata", section.section("metadata"))
    # Labels, annotations and what an API server adds: other people's keys.
    name = metadata.required("name", metadata.text("name")) if metadata else None
    spec = section.required("spec", section.section("spec"))
    section.finish()
    policy = _parse_spec(spec, name=name or "?", place=place) if spec else None
    return policy if len(faults.errors) == before else None


def _parse_spec(spec: Section, *, name: str, place: str) -> Policy:
    resource = spec.required("resourceName", spec.text("resourceName"))
    num_vfs = spec.required("numVfs", spec.integer("numVfs")) or 0
    selector = _parse_nic_selector(spec.required("nicSelector", spec.section("nicSelector")))
    _check_ranges(spec, selector, num_vfs)
    if spec.choice("deviceType", ("netdevice", "vfio-pci"), "netdevice") == "vfio-pci":
        spec.faults.add(spec.at("deviceType"), "'vfio-pci' is not supported yet", hint="only netdevice is")
    link_type = spec.text("linkType")
    if link_type is not None and link_type.lower() not in {"eth", "ether"}:
        spec.faults.add(spec.at("linkType"), f"{link_type!r} is not supported yet", hint="only eth is")
    refuse_later_keys(spec, _LATER)
    spec.ignore("nodeSelector")
    policy = Policy(
        name=name,
        place=place.removesuffix(":"),
        resource=resource or "?",
        priority=spec.integer("priority", PRIORITY_LOWEST, maximum=PRIORITY_LOWEST) or 0,
        selector=selector,
        num_vfs=num_vfs,
        mtu=spec.integer("mtu", minimum=MTU_MIN, maximum=MTU_MAX),
        eswitch_mode=spec.choice("eSwitchMode", ("legacy", "switchdev")),
        externally_managed=spec.boolean("externallyManaged"),
    )
    spec.finish()
    return policy


def _parse_nic_selector(section: Section | None) -> NicSelector:
    if section is None:
        return NicSelector(None, None, (), ())
    selector = NicSelector(
        vendor=section.parsed("vendor", parse_hex_id),
        device=section.parsed("deviceID", parse_hex_id),
        pf_names=section.parsed_list("pfNames", PfPart.parse),
        root_devices=section.parsed_list("rootDevices", PciAddress.parse),
    )
    section.ignore("netFilter")
    if section.asks_for("netFilter"):
        section.faults.add(
            section.at("netFilter"), "is not supported", hint="select by pfNames, rootDevices, vendor or deviceID"
        )
    elif not any(section.asks_for(key) for key in ("vendor", "deviceID", "pfNames", "rootDevices")):
        section.faults.add(
            section.path,
            "selects by nothing",
            hint="give pfNames, rootDevices, vendor or deviceID: not all PFs at once",
        )
    section.finish()
    return selector


def _check_ranges(spec: Section, selector: NicSelector, num_vfs: int) -> None:
    for part in selector.pf_names:
        for first, last in part.ranges:
            if last >= num_vfs:
                spec.faults.add(
                    f"{spec.at('nicSelector')}.pfNames",
                    f"{str(part)!r} names VF {last}, numVfs {num_vfs} makes none of that number",
                    hint=f"raise numVfs, or end the range {first}-{last} earlier; VFs count from 0",
                )
