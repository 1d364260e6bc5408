"""Read what should be on this DPU from its document (``kind: DpuState``), all faults at once. Pure.

The document has the shape in which the tenant cluster's objects reach the agent, so a file serves where there is no
cluster. Its keys are described in README.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import TypeVar

from offload.model import DEFAULT_GATEWAY_MAC, Attachment, DpuState, Peer, PodNetwork, Tunnel, TunnelKind
from sriov.document import Address, Faults, Network, Section, parse_address, parse_interface, parse_network
from sriov.errors import InputError
from sriov.model import MacAddress
from sriov.representor import VfPort
from sriov.source import parse_document

API_VERSION = "dpukit.io/v1alpha1"
KIND = "DpuState"

VNI_MAX = (1 << 24) - 1
_NUMBER_MAX = 0xFFFF
_POD = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")

T = TypeVar("T")


def parse_state(text: str, *, source: str) -> DpuState:
    """Read the state document `text`; `source` names it in errors.

    Raises:
        InputError: it has faults; the text has one line for each.
    """
    faults = Faults()
    root = Section(parse_document(text, source=source), path=f"{source}:", faults=faults)
    # Of a document that is none, only that is worth saying.
    faults.raise_if_any()
    for key, word in (("apiVersion", API_VERSION), ("kind", KIND)):
        root.required(key, root.choice(key, (word,)), hint=f"write {key}: {word}")
    node = root.required("node", root.text("node"), hint="the paired host's name in its cluster")
    network = _network(root, faults)
    attachments = tuple((part, _attachment(part)) for part in root.sections("attachments"))
    peers = tuple((part, _peer(part)) for part in root.sections("peers"))
    root.finish()
    _check_unique(attachments, faults)
    if network is not None:
        _check_attachments(attachments, network, faults)
        _check_peers(peers, network, faults)
    faults.raise_if_any()
    if node is None or network is None:
        raise AssertionError("a missing part is a fault")
    return DpuState(node, network, _values(attachments), _values(peers))


def _values(pairs: Iterable[tuple[Section, T | None]]) -> tuple[T, ...]:
    return tuple(value for _, value in pairs if value is not None)


def _network(root: Section, faults: Faults) -> PodNetwork | None:
    section = root.section("network")
    if section is None:
        faults.add(root.at("network"), "is missing", hint="it says podCIDRs, clusterCIDRs and tunnel")
        return None
    pods = _some(section, "podCIDRs", parse_network)
    cluster = _some(section, "clusterCIDRs", parse_network)
    gateway = section.parsed("gatewayMAC", MacAddress.parse_unicast) or DEFAULT_GATEWAY_MAC
    tunnel = _tunnel(section, faults)
    section.finish()
    for index, cidr in enumerate(pods):
        if cluster and not any(_contains(outer, cidr) for outer in cluster):
            place = f"{section.at('podCIDRs')}[{index}]"
            faults.add(
                place, f"{cidr} is not inside any of clusterCIDRs", hint="clusterCIDRs hold the pods of all DPUs"
            )
    return PodNetwork(pods, cluster, tunnel, gateway) if tunnel else None


def _tunnel(network: Section, faults: Faults) -> Tunnel | None:
    section = network.section("tunnel")
    if section is None:
        faults.add(network.at("tunnel"), "is missing", hint="write tunnel: {type: geneve, vni: 100, local: 192.0.2.11}")
        return None
    kind = section.choice("type", [kind.value for kind in TunnelKind], TunnelKind.GENEVE.value)
    vni = section.required("vni", section.integer("vni", minimum=1, maximum=VNI_MAX))
    local: Address | None = section.parsed("local", parse_address)
    section.required("local", local, hint="this DPU's own VTEP address")
    section.finish()
    if kind is None or vni is None or local is None:
        return None
    return Tunnel(TunnelKind(kind), vni, local)


def _attachment(section: Section) -> Attachment | None:
    pod = section.required("pod", section.parsed("pod", _parse_pod))
    network = section.text("network", "default")
    sandbox = section.required("sandboxId", section.text("sandboxId"))
    controller = section.integer("controller", 1, maximum=_NUMBER_MAX)
    pf = section.integer("pf", 0, maximum=_NUMBER_MAX)
    vf = section.required("vf", section.integer("vf", maximum=_NUMBER_MAX))
    mac = section.required("mac", section.parsed("mac", MacAddress.parse_unicast))
    ips = _some(section, "ips", parse_interface, hint="a pod without an address can neither send nor receive")
    uid = section.text("podUid", "") or ""
    section.finish()
    if pod is None or network is None or mac is None or vf is None or controller is None or pf is None:
        return None
    # Without its sandbox it is faulty, but can still be held against the others.
    return Attachment(pod, network, sandbox or "", VfPort(controller, pf, vf), mac, ips, uid)


def _parse_pod(text: str) -> str:
    if not _POD.fullmatch(text):
        raise InputError("pod", f"{text!r} does not name a pod", hint="write it as namespace/name")
    return text


def _peer(section: Section) -> Peer | None:
    name = section.required("name", section.text("name"))
    vtep: Address | None = section.parsed("vtep", parse_address)
    section.required("vtep", vtep, hint="the peer's own tunnel.local")
    cidrs = _some(section, "podCIDRs", parse_network)
    section.finish()
    return Peer(name, vtep, cidrs) if name and vtep else None


def _some(section: Section, key: str, parse: Callable[[str], T], *, hint: str = "") -> tuple[T, ...]:
    """Read a list that must have at least one entry."""
    before = len(section.faults.errors)
    found = section.parsed_list(key, parse)
    section.required(key, found, hint=hint)
    if not found and section.has(key) and len(section.faults.errors) == before:
        section.faults.add(section.at(key), "is empty", hint=hint)
    return found


# -- what must hold between the parts ----------------------------------------------------------------------------------


def _check_unique(pairs: Iterable[tuple[Section, Attachment | None]], faults: Faults) -> None:
    seen: dict[tuple[str, object], Section] = {}
    for section, attachment in pairs:
        for key, word, value in _identities(attachment):
            first = seen.setdefault((word, value), section)
            if first is not section:
                faults.add(section.at(key), f"{word} {value} is that of {first.path.rpartition(' ')[2]} too")


def _identities(attachment: Attachment | None) -> list[tuple[str, str, object]]:
    if attachment is None:
        return []
    addresses: list[tuple[str, str, object]] = [("ips", "address", interface.ip) for interface in attachment.ips]
    return [
        ("pod", "attachment", attachment.key),
        ("vf", "VF", attachment.vf),
        ("mac", "MAC address", attachment.mac),
        *addresses,
    ]


def _check_attachments(pairs: Iterable[tuple[Section, Attachment | None]], network: PodNetwork, faults: Faults) -> None:
    cidrs = ", ".join(map(str, network.pod_cidrs))
    for section, attachment in pairs:
        if attachment is None:
            continue
        for index, interface in enumerate(attachment.ips):
            if network.pod_cidrs and not any(_holds(cidr, interface.ip) for cidr in network.pod_cidrs):
                faults.add(f"{section.at('ips')}[{index}]", f"{interface.ip} is outside podCIDRs ({cidrs})")
        if attachment.mac == network.gateway_mac:
            faults.add(section.at("mac"), f"{attachment.mac} is the gateway's (network.gatewayMAC)")


def _check_peers(pairs: Iterable[tuple[Section, Peer | None]], network: PodNetwork, faults: Faults) -> None:
    known = [(section, peer) for section, peer in pairs if peer is not None]
    for section, peer in known:
        for cidr, own in ((cidr, own) for cidr in peer.pod_cidrs for own in network.pod_cidrs):
            if cidr.overlaps(own):
                faults.add(section.at("podCIDRs"), f"{cidr} overlaps this DPU's own {own}")
        if peer.vtep == network.tunnel.local:
            faults.add(section.at("vtep"), f"{peer.vtep} is this DPU's own (network.tunnel.local)")
        elif peer.vtep.version != network.tunnel.local.version:
            faults.add(
                section.at("vtep"), f"{peer.vtep} and this DPU's {network.tunnel.local} are of different families"
            )
    for (_, first), (section, second) in combinations(known, 2):
        _check_pair(first, section, second, faults)


def _check_pair(first: Peer, section: Section, second: Peer, faults: Faults) -> None:
    if first.name == second.name:
        faults.add(section.at("name"), f"{second.name!r} is the name of another peer too")
    if first.vtep == second.vtep:
        faults.add(section.at("vtep"), f"{second.vtep} is that of peer {first.name!r} too")
    for one, other in ((one, other) for one in first.pod_cidrs for other in second.pod_cidrs):
        if one.overlaps(other):
            faults.add(section.at("podCIDRs"), f"{other} overlaps {one} of peer {first.name!r}")


def _contains(outer: Network, inner: Network) -> bool:
    return (
        outer.version == inner.version and _holds(outer, inner.network_address) and outer.prefixlen <= inner.prefixlen
    )


def _holds(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network
