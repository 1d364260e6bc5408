"""What should be on this DPU, and what the switch shows, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sriov.document import Address, Interface, Network
from sriov.model import MacAddress
from sriov.representor import SwitchPort, VfPort

DEFAULT_GATEWAY_MAC = MacAddress.parse("0a:58:a9:fe:01:01")
"""The MAC every pod has for its gateway, as a permanent neighbour (the CNI plugin's routed mode)."""

OWNER_KEY = "dpukit-owner"
"""The external id by which a port in the database is known to be ours, and whose it is."""


class TunnelKind(StrEnum):
    """How pods of two DPUs reach each other; the spelling is that of OVSDB's Interface.type."""

    GENEVE = "geneve"
    VXLAN = "vxlan"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The overlay: its kind, the network identifier on the wire, this DPU's own end (its VTEP)."""

    kind: TunnelKind
    vni: int
    local: Address


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """The network the pods are on. `pod_cidrs` are this DPU's, `cluster_cidrs` hold all pods of the cluster."""

    pod_cidrs: tuple[Network, ...]
    cluster_cidrs: tuple[Network, ...]
    tunnel: Tunnel
    gateway_mac: MacAddress = DEFAULT_GATEWAY_MAC


@dataclass(frozen=True, slots=True)
class Attachment:
    """A VF given to a pod: which VF, and the addresses the pod has on it.

    `pod` is ``namespace/name``; `network` is ``default`` or the NetworkAttachmentDefinition's ``namespace/name``.
    """

    pod: str
    network: str
    sandbox_id: str
    vf: VfPort
    mac: MacAddress
    ips: tuple[Interface, ...]
    pod_uid: str = ""

    @property
    def key(self) -> str:
        """What tells this attachment from every other on this DPU."""
        return f"{self.pod} {self.network}"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another DPU: its VTEP, and the pods behind it."""

    name: str
    vtep: Address
    pod_cidrs: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class DpuState:
    """All that should be on this DPU. `node` is the paired host's name in its cluster."""

    node: str
    network: PodNetwork
    attachments: tuple[Attachment, ...] = ()
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True, slots=True)
class BridgeWish:
    """The bridge the agent keeps. `addresses` go to the bridge's own device (the VTEP's among them)."""

    name: str = "br-int"
    datapath_type: str = "system"
    addresses: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class PortWish:
    """A port that should be in the bridge. `owner` says for whom: ``uplink``, ``tunnel``, or an attachment's key."""

    name: str
    owner: str
    kind: str = ""
    options: tuple[tuple[str, str], ...] = ()
    external_ids: tuple[tuple[str, str], ...] = ()
    ofport_request: int | None = None


@dataclass(frozen=True, slots=True)
class BridgePort:
    """A port as the database shows it. `ofport` is None until ovs-vswitchd has opened it, or when it cannot."""

    name: str
    bridge: str
    kind: str = ""
    ofport: int | None = None
    ofport_request: int | None = None
    error: str = ""
    options: tuple[tuple[str, str], ...] = ()
    external_ids: tuple[tuple[str, str], ...] = ()

    @property
    def owner(self) -> str | None:
        """For whom this agent put it there; None when somebody else did."""
        return dict(self.external_ids).get(OWNER_KEY)


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge as the database shows it."""

    name: str
    datapath_type: str = ""
    fail_mode: str = ""
    protocols: frozenset[str] = frozenset()
    hwaddr: str = ""


@dataclass(frozen=True, slots=True)
class SwitchSnapshot:
    """What the database shows: the bridge (None when absent), every port of every bridge, the offload settings."""

    bridge: Bridge | None = None
    ports: tuple[BridgePort, ...] = ()
    hw_offload: bool = False
    tc_policy: str = "none"

    def find_port(self, name: str) -> BridgePort | None:
        """Return the port `name`, whichever bridge it is in; None when there is none."""
        return next((port for port in self.ports if port.name == name), None)


@dataclass(frozen=True, slots=True)
class Located:
    """Where an attachment meets the switch: its representor, or why there is none to use."""

    attachment: Attachment
    representor: SwitchPort | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Wiring:
    """The numbers the bridge gave to ports; flows name ports by these. A port that is not there has no number."""

    uplink: int | None = None
    tunnel: int | None = None
    representors: tuple[tuple[str, int], ...] = field(default=())

    def find_representor(self, attachment: Attachment) -> int | None:
        """Return the number of the attachment's port, None when it is not plugged."""
        return dict(self.representors).get(attachment.key)
