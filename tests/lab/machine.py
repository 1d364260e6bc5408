"""The virtual machine as a QEMU command line: two igb PFs on cables, a root, shares. Nothing here runs it (see session.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.kernel import Kernel
from tests.lab.model import LAB
from tests.lab.roots import Tools

CPUS = 2
MEMORY = "3G"
EMULATED_CPU = "max,la57=off,-avx,-avx2,-erms,-fsrm,-smap,-smep,-umip,-pku,-pks"
"""What emulation is slow at is left out: vector instructions, which the C library would choose for every string, and protections
that the kernel toggles with every copy from user space. A Python program then starts and ends in less than half the time."""
BOOT = (
    "console=ttyS0 root=/dev/vda ro rootfstype=ext4 init=/usr/sbin/init panic=-1 no_timer_check"
    # none of the devices that exist only because their driver does: a namespace starts with lo and nothing else
    " fb_tunnels=none dummy.numdummies=0 bonding.max_bonds=0"
    # an RDMA device belongs to one namespace; the kernel takes no change of this once there is a second one
    " ib_core.netns_mode=0"
)


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of the developer's machine inside the virtual one, over 9p."""

    tag: str
    path: Path
    writable: bool = False

    def words(self) -> list[str]:
        """Word it for QEMU."""
        readonly = "off" if self.writable else "on"
        return [
            "-virtfs",
            f"local,path={self.path},mount_tag={self.tag},security_model=none,multidevs=remap,readonly={readonly}",
        ]


@dataclass(frozen=True, slots=True)
class Machine:
    """What is needed to boot."""

    tools: Tools
    kernel: Kernel
    root: Path
    accelerator: str
    tsc_khz: int | None = None
    """For the emulated CPU, see tsc.py."""

    def qemu(self) -> list[str]:
        """The program with its own firmware and modules."""
        share = self.tools.root / "usr/share"
        firmware = [word for folder in ("qemu", "seabios", "ipxe/qemu") for word in ("-L", str(share / folder))]
        return [*self.tools.program("usr/bin/qemu-system-x86_64"), *firmware]

    def environment(self) -> Mapping[str, str]:
        """Where QEMU finds its modules (TCG is one): it would look beside the dynamic loader otherwise."""
        return {"QEMU_MODULE_DIR": str(self.tools.root / "usr/lib/x86_64-linux-gnu/qemu")}

    def boot_line(self) -> str:
        """What the kernel is told."""
        return BOOT if self.tsc_khz is None else f"{BOOT} tsc=reliable tsc_early_khz={self.tsc_khz}"

    def command(self, shares: Sequence[Share], console: Path, terminal: str) -> list[str]:
        """Word the whole machine; `terminal` is the chardev that the lab inside talks to."""
        base = [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-machine",
            "q35",
            "-accel",
            self.accelerator,
        ]
        base += ["-cpu", "host" if self.accelerator == "kvm" else EMULATED_CPU, "-smp", str(CPUS), "-m", MEMORY]
        base += ["-kernel", str(self.kernel.image), "-append", self.boot_line(), "-serial", f"file:{console}"]
        base += [
            "-chardev",
            f"{terminal},id=term",
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtconsole,chardev=term",
        ]
        base += [
            "-drive",
            f"file={self.root},format=raw,if=none,id=root,readonly=on",
            "-device",
            "virtio-blk-pci,drive=root",
        ]
        base += ["-device", "virtio-rng-pci"]
        cables = [word for index in range(len(LAB.hosts)) for word in _cable(index)]
        return [*self.qemu(), *base, *cables, *(word for share in shares for word in share.words())]


def _cable(index: int) -> list[str]:
    """A PF at 0000:0N:00.0 and a virtio card, as the two ends of a cable.

    Each igb needs a root port of its own. The far end is no igb, so that the product sees two SR-IOV cards and no more; its VLAN
    filter is off, as it has to take whatever the VFs send.
    """
    host, port = LAB.hosts[index], f"port{index}"
    words = ["-device", f"pcie-root-port,id={port},chassis={index + 1},slot={index + 1}"]
    for end in ("pf", "far"):
        words += ["-netdev", f"hubport,hubid={index},id={end}{index}"]
    words += ["-device", f"igb,bus={port},netdev=pf{index},mac={host.mac}"]
    words += ["-device", f"virtio-net-pci,netdev=far{index},mac={host.cable_mac},ctrl_vlan=off,romfile="]
    return words
