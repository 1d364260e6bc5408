"""Values that the tests of `offload` share."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from offload.model import Attachment, DpuState, Peer, PodNetwork, Tunnel, TunnelKind
from sriov.model import MacAddress
from sriov.representor import PortName, SwitchPort, VfPort

SWITCH = "00e1c20f0a5b"


def make_attachment(vf: int, *, v6: bool = False) -> Attachment:
    ips = [ip_interface(f"10.1.1.{vf + 2}/32")]
    if v6:
        ips.append(ip_interface(f"fd00:1:1::{vf + 2}/128"))
    return Attachment(
        pod=f"default/pod{vf}",
        network="default",
        sandbox_id=f"sandbox{vf}",
        vf=VfPort(1, 0, vf),
        mac=MacAddress.parse(f"0a:58:0a:01:01:{vf + 2:02x}"),
        ips=tuple(ips),
    )


def make_peer(number: int) -> Peer:
    cidrs = (ip_network(f"10.1.{number}.0/24"), ip_network(f"fd00:1:{number}::/64"))
    return Peer(f"dpu{number}", ip_address(f"192.0.2.{10 + number}"), cidrs)


def make_state(*attachments: Attachment, peers: int = 0) -> DpuState:
    network = PodNetwork(
        pod_cidrs=(ip_network("10.1.1.0/24"), ip_network("fd00:1:1::/64")),
        cluster_cidrs=(ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")),
        tunnel=Tunnel(TunnelKind.GENEVE, 100, ip_address("192.0.2.11")),
    )
    return DpuState("host0", network, attachments, tuple(make_peer(number + 2) for number in range(peers)))


def make_port(vf: int, *, netdev: str = "", switch_id: str = SWITCH, controller: int = 1) -> SwitchPort:
    name = PortName.parse(f"c{controller}pf0vf{vf}")
    assert name is not None
    return SwitchPort(switch_id, name, netdev or f"eth{vf}", 100 + vf)


def make_uplink(number: int = 0, *, switch_id: str = SWITCH) -> SwitchPort:
    name = PortName.parse(f"p{number}")
    assert name is not None
    return SwitchPort(switch_id, name, f"p{number}", 10 + number)
