"""The plan of the lab as constants: two hosts, two DPUs, the wires between them. Pure: tests, demo and shell import it anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

VFS = 7
"""VFs that a PF can have (igb's limit with all of them in use), and so VF representors per DPU."""


@dataclass(frozen=True, slots=True)
class Host:
    """A tenant host: its PF is in the initial network namespace, where the product's host programs run."""

    index: int
    pf: str
    """PCI address of the PF."""
    netdev: str
    """Netdev of the PF."""
    mac: str
    cable_mac: str
    """MAC of the card at the far end of the PF's cable, by which it is found."""
    pod_cidr: str
    pod_cidr6: str

    def vf_pci(self, vf: int) -> str:
        """PCI address of a VF: igb's VFs start at offset 0x80 with stride 2 (their SR-IOV capability says so)."""
        return f"{self.pf[:7]}:{0x10 + vf // 4:02x}.{vf % 4 * 2}"

    def vf_mac(self, vf: int) -> str:
        """A MAC for a VF, for tests that set one."""
        return f"02:00:00:00:1{self.index}:{vf:02x}"


@dataclass(frozen=True, slots=True)
class Dpu:
    """A DPU: a network namespace with an instance of dpusim and an Open vSwitch of its own."""

    index: int
    netns: str
    devlink: str
    """Its devlink handle, bus/device."""
    rundir: str
    """OVS_RUNDIR: sockets, pid files, logs, database."""
    uplink: str
    uplink_mac: str
    vtep: str
    """Address for tunnels. The agent puts it on its bridge; the lab does not."""
    vtep6: str
    snat: str
    """Address that pods of this DPU have outside. Dedicated: nothing else uses it."""
    snat6: str

    @property
    def db(self) -> str:
        """The OVSDB socket, as OVS names it."""
        return f"unix:{self.rundir}/db.sock"

    @property
    def db_sock(self) -> str:
        """The OVSDB socket, as a path."""
        return f"{self.rundir}/db.sock"

    @property
    def netns_path(self) -> str:
        """The network namespace, as a path."""
        return f"/run/netns/{self.netns}"

    @property
    def pf_representor(self) -> str:
        """Netdev name of the PF's representor."""
        return "pf0hpf"

    def representor(self, vf: int) -> str:
        """Netdev name of a VF's representor."""
        return f"pf0vf{vf}"

    def mgmt(self, bridge: str) -> str:
        """Path of the OpenFlow socket of a bridge."""
        return f"{self.rundir}/{bridge}.mgmt"


@dataclass(frozen=True, slots=True)
class External:
    """Somebody outside the cluster, behind the gateway of the underlay."""

    netns: str
    gateway: str
    gateway6: str
    gateway_mac: str
    host: str
    host6: str


@dataclass(frozen=True, slots=True)
class Lab:
    """All of it."""

    hosts: tuple[Host, ...]
    dpus: tuple[Dpu, ...]
    external: External
    repository: PurePosixPath
    """The repository in the virtual machine, read-only."""
    output: PurePosixPath
    """What is written here is in build/lab on the developer's machine."""
    run: PurePosixPath
    fabric: str = "fabric"
    """Namespace of the far ends: the other end of each PF's cable, and what is behind each representor."""
    underlay: str = "underlay"
    """Namespace of the network between the DPUs' uplinks: one bridge."""
    underlay_prefix: int = 24
    underlay_prefix6: int = 64
    first_vlan: int = 100
    """VF i of a host is on VLAN first_vlan + i of that host's cable, and nowhere else."""

    @property
    def logs(self) -> PurePosixPath:
        """Where daemons log, in a folder of their own: it is on the developer's machine, and survives a crash."""
        return self.output / "logs"

    def vlan(self, vf: int) -> int:
        """The VLAN that carries a VF's packets to its representor."""
        return self.first_vlan + vf


def _host(index: int) -> Host:
    return Host(
        index=index,
        pf=f"0000:{index + 1:02x}:00.0",
        netdev=f"h{index}pf0",
        mac=f"02:00:00:00:f{index}:00",
        cable_mac=f"02:00:00:00:c{index}:00",
        pod_cidr=f"10.1.{index + 1}.0/24",
        pod_cidr6=f"fd00:1:{index + 1}::/64",
    )


def _dpu(index: int) -> Dpu:
    return Dpu(
        index=index,
        netns=f"dpu{index}",
        devlink=f"dpusim/dpusim{index}",
        rundir=f"/run/lab/dpu{index}/ovs",
        uplink="p0",
        uplink_mac=f"02:00:00:00:aa:{index + 1:02x}",
        vtep=f"192.0.2.{11 + index}",
        vtep6=f"2001:db8:2::{11 + index}",
        snat=f"192.0.2.{111 + index}",
        snat6=f"2001:db8:2::{111 + index}",
    )


LAB = Lab(
    repository=PurePosixPath("/repo"),
    output=PurePosixPath("/out"),
    run=PurePosixPath("/run/lab"),
    hosts=(_host(0), _host(1)),
    dpus=(_dpu(0), _dpu(1)),
    external=External(
        netns="ext",
        gateway="192.0.2.1",
        gateway6="2001:db8:2::1",
        gateway_mac="02:00:00:00:ee:01",
        host="198.51.100.1",
        host6="2001:db8:51::1",
    ),
)
