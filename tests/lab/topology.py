"""Lay out the lab inside the virtual machine: namespaces, e-switches, cables, underlay, and an Open vSwitch per DPU.

initial namespace             fabric                    dpu0, dpu1                       underlay            ext
h0pf0, h1pf0 (igb) --cable-- cable0 =TC= d0pf,d0vf0.. --dpusim-- pf0hpf,pf0vf0..
their VFs                     cable1 =TC= d1pf,d1vf0..            p0 --dpusim-- d0up,d1up in br0 -- veth -- gateway
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import eswitch, fabric
from tests.lab.eswitch import Eswitch
from tests.lab.fabric import far_names, wire
from tests.lab.model import LAB, VFS, Dpu, Host
from tests.lab.netns import entered, ip, run
from tests.lab.switch import Switch
from tests.lab.vf import wait_for

__all__ = ["ESWITCHES", "SWITCHES", "build", "tear_down", "wire"]

ESWITCHES = tuple(Eswitch(dpu.index) for dpu in LAB.dpus)
SWITCHES = tuple(Switch(dpu) for dpu in LAB.dpus)
_BUILT = Path(LAB.run / "built")


def build() -> None:
    """Lay out everything, once per boot; VFs are not made (that is the provisioner's work), see `fabric.wire`."""
    if _BUILT.exists():
        return
    with ThreadPoolExecutor(len(SWITCHES)) as pool:
        databases = [pool.submit(switch.create) for switch in SWITCHES]
        _make_namespaces()
        for dpu in LAB.dpus:
            _make_dpu(dpu)
        _make_underlay()
        for host in LAB.hosts:
            _connect_host(host)
        for database in databases:
            database.result()
        for started in [pool.submit(switch.start) for switch in SWITCHES]:
            started.result()
    _BUILT.write_text("")


def tear_down() -> None:
    """Undo `build`: unload the module under all that stands on it, stop the daemons, remove the namespaces."""
    eswitch.unload()
    for switch in SWITCHES:
        switch.stop()
    ip(f"netns del {name}" for name in _namespaces())
    for host in LAB.hosts:  # a namespace gives its real devices back a moment after it is gone
        wait_for(lambda host=host: bool(_netdevs_with_mac(host.cable_mac)), f"the far end of the cable of {host.pf}")  # type: ignore[misc]
    _BUILT.unlink()


def _namespaces() -> list[str]:
    return [LAB.fabric, LAB.underlay, LAB.external.netns, *(dpu.netns for dpu in LAB.dpus)]


def _make_namespaces() -> None:
    Path(LAB.run).mkdir(parents=True, exist_ok=True)
    ip(f"netns add {name}" for name in _namespaces())
    # No MLD, DAD or router solicitations of the lab's own: every stray packet is a datapath flow somebody has to explain.
    for name in (LAB.fabric, LAB.underlay):
        _sysctl(name, "net/ipv6/conf/default/disable_ipv6", "1")
    eswitch.load()


def _make_dpu(dpu: Dpu) -> None:
    """Make the e-switch in the DPU's namespace, and take what is behind its ports to where it belongs."""
    ESWITCHES[dpu.index].create(dpu.netns, VFS)
    moves = [
        f"link set {far} netns {LAB.underlay if far == 'upw' else LAB.fabric} name {name}"
        for far, name in far_names(dpu).items()
    ]
    ports = [dpu.uplink, dpu.pf_representor, *(dpu.representor(vf) for vf in range(VFS))]
    ups = [f"link set {port} up" for port in ports]
    ip(["link set lo up", *moves, f"link set {dpu.uplink} address {dpu.uplink_mac}", *ups], netns=dpu.netns)
    # As a BlueField's firmware tells its Arm cores: the representor of the PF knows the MAC that the PF has in the host.
    run(
        ["devlink", "-N", dpu.netns, "port", "function", "set", f"{dpu.devlink}/1", "hw_addr", LAB.hosts[dpu.index].mac]
    )
    _sysctl(dpu.netns, "net/ipv4/ip_forward", "1")
    _sysctl(dpu.netns, "net/ipv6/conf/all/forwarding", "1")


def _make_underlay() -> None:
    """One bridge for the uplinks and, behind it, the gateway, which is the external host as well."""
    external = LAB.external
    uplinks = [far_names(dpu)["upw"] for dpu in LAB.dpus]
    lines = [
        "link set lo up",
        "link add br0 type bridge",
        f"link add ext type veth peer name eth0 netns {external.netns}",
    ]
    for port in (*uplinks, "ext"):
        lines += [f"link set {port} master br0", f"link set {port} up"]
    ip([*lines, "link set br0 up"], netns=LAB.underlay)
    ip(
        [
            "link set lo up",
            f"link set eth0 address {external.gateway_mac} up",
            f"address add {external.gateway}/{LAB.underlay_prefix} dev eth0",
            f"address add {external.gateway6}/{LAB.underlay_prefix6} dev eth0 nodad",
            f"address add {external.host}/32 dev lo",
            f"address add {external.host6}/128 dev lo nodad",
        ],
        netns=external.netns,
    )


def _connect_host(host: Host) -> None:
    """Name the PF, and take the far end of its cable into the fabric."""
    cable = f"cable{host.index}"
    ip(
        [
            f"link set {_netdevs_with_mac(host.cable_mac)[0]} netns {LAB.fabric} name {cable}",
            f"link set {fabric.netdev_of(host.pf)} name {host.netdev}",
            f"link set {host.netdev} up",
        ]
    )
    fabric.join(cable, LAB.dpus[host.index])
    wire(host)


def _netdevs_with_mac(mac: str) -> list[str]:
    return [path.parent.name for path in Path("/sys/class/net").glob("*/address") if path.read_text().strip() == mac]


def _sysctl(netns: str, name: str, value: str) -> None:
    with entered(netns):
        Path("/proc/sys", name).write_text(value)
