"""The wires between the hosts' cards and the DPUs: VF i of a host is the far end of representor i of its DPU, and nothing else.

An igb has no DPU on it, so its VFs are taken to one by VLAN: the card tags what VF i sends with VLAN 100+i (a port VLAN, which the
guest of the VF does not see), and at the other end of the cable TC takes the tag off and hands the packet to the far end of
representor i, and the other way round. Untagged packets are the PF's own, and belong to the PF's representor.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from tests.lab.model import LAB, VFS, Dpu, Host
from tests.lab.netns import ip, tc

PCI = Path("/sys/bus/pci/devices")
DTXSWC = 0x3500
"""82576 datasheet: DMA Tx Switch Control. Bit 31: packets between VFs are switched in the card, which would bypass the DPU."""
LOOPBACK = 1 << 31


def far_names(dpu: Dpu) -> dict[str, str]:
    """Return what dpusim calls a far end, and what it is called where it is moved to."""
    prefix = f"d{dpu.index}"
    return {"upw": f"{prefix}up", "pfw": f"{prefix}pf"} | {f"vfw{vf}": f"{prefix}vf{vf}" for vf in range(VFS)}


def netdev_of(address: str) -> str:
    """Return the netdev of a PCI function that has one in the initial namespace."""
    return next((PCI / address / "net").iterdir()).name


def cable_rules(cable: str, dpu: Dpu) -> list[str]:
    """Word the TC rules that join one cable to the far ends of one DPU's representors."""
    names = far_names(dpu)
    lines = [f"qdisc add dev {dev} clsact" for dev in (cable, names["pfw"], *(names[f"vfw{vf}"] for vf in range(VFS)))]
    for vf in range(VFS):
        vlan, far = LAB.vlan(vf), names[f"vfw{vf}"]
        tagged = f"filter add dev {cable} ingress protocol 802.1Q pref 1 flower vlan_id {vlan}"
        lines += [
            f"{tagged} action vlan pop pipe action mirred egress redirect dev {far}",
            f"filter add dev {far} ingress matchall action vlan push id {vlan} pipe action mirred egress redirect dev {cable}",
        ]
    lines += [
        f"filter add dev {cable} ingress protocol all pref 2 matchall action mirred egress redirect dev {names['pfw']}",
        f"filter add dev {names['pfw']} ingress matchall action mirred egress redirect dev {cable}",
    ]
    return lines


def join(cable: str, dpu: Dpu) -> None:
    """Join a cable, which is in the fabric's namespace by now, to a DPU's far ends."""
    names = [name for kind, name in far_names(dpu).items() if kind != "upw"]
    ip([f"link set {name} up promisc on" for name in (cable, *names)], netns=LAB.fabric)
    tc(cable_rules(cable, dpu), netns=LAB.fabric)


def wire(host: Host) -> None:
    """Give each VF that exists its port VLAN, and switch the card's own VF-to-VF path off.

    To be called after VFs were made, and after the PF was reset (a new MTU does that): both turn the path on again. Repeatable.
    """
    count = int((PCI / host.pf / "sriov_numvfs").read_text())
    ip([f"link set {host.netdev} vf {vf} vlan {LAB.vlan(vf)}" for vf in range(count)])
    set_loopback(host, on=False)


def set_loopback(host: Host, *, on: bool) -> None:
    """Switch the card's own path between VFs on or off, in its register: igb offers no other way (ndo_bridge_setlink is ixgbe's)."""
    descriptor = os.open(PCI / host.pf / "resource0", os.O_RDWR | os.O_SYNC)
    try:
        with mmap.mmap(descriptor, 0x4000) as registers:
            value = struct.unpack_from("<I", registers, DTXSWC)[0]
            struct.pack_into("<I", registers, DTXSWC, value | LOOPBACK if on else value & ~LOOPBACK)
    finally:
        os.close(descriptor)


if __name__ == "__main__":  # for the lab's shell
    for each in LAB.hosts:
        wire(each)
