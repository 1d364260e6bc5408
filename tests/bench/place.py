"""Where the CNI calls are compared: devices and pods, on veth ends in namespaces of our own, or on the lab's real VFs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

NAMESPACES = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Device:
    """A device that is moved, and the pod that it is moved into."""

    address: str
    """Its PCI address; of a stand-in, that under which it is in our folder of sysfs' shape."""
    netdev: str
    pod: str
    """The pod's namespace, a name of ``ip netns``."""

    @property
    def netns(self) -> str:
        """The path of the pod's namespace."""
        return str(NAMESPACES / self.pod)


@dataclass(frozen=True, slots=True)
class Place:
    """Devices to move, and where dpukit finds them."""

    title: str
    devices: tuple[Device, ...]
    roots: Mapping[str, str]
    """Variables that tell dpukit where sysfs is, if not where it always is."""
    home: str = "bench-home"
    """A name of ``ip netns`` for the namespace where the devices are at home."""


@contextmanager
def veth_place(folder: Path, *, number: int) -> Iterator[Place]:
    """Give veth ends as stand-ins for VFs: host-device moves them by name, dpukit finds them by PCI address.

    Run in a network and a mount namespace of its own: nothing is taken away afterwards but by their end.
    """
    devices = tuple(
        Device(f"0000:03:{0x10 + one // 8:02x}.{one % 8}", f"benchvf{one}", f"pod{one}") for one in range(number)
    )
    vfs = tuple(FakeVf(device.address, device.netdev) for device in devices)
    FakeSysfs(folder / "sys", FakePf("0000:03:00.0", "benchpf", vfs, total_vfs=number))
    NAMESPACES.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", NAMESPACES], check=True)
    lines = ["link set lo up", "link add benchpf type veth peer name benchwire"]
    for device in devices:
        lines += [f"link add {device.netdev} type veth peer name {device.netdev}x", f"link set {device.netdev}x up"]
    ip(*lines)
    with pods(devices, home="bench-home"):
        yield Place("veth ends", devices, {"DPUKIT_SYSFS": str(folder / "sys")})


@contextmanager
def lab_place() -> Iterator[Place]:
    """Give the VFs of the lab's first host; for a run inside its virtual machine, whose topology is laid out."""
    from tests.lab.model import LAB
    from tests.lab.vf import home_netdev, set_vfs

    host = LAB.hosts[0]
    set_vfs(host, 7)
    try:
        devices = tuple(Device(host.vf_pci(vf), home_netdev(host, vf) or "", f"pod{vf}") for vf in range(7))
        with pods(devices, home="bench-home"):
            yield Place("igb VFs of the lab", devices, {})
    finally:
        set_vfs(host, 0)


@contextmanager
def pods(devices: tuple[Device, ...], *, home: str) -> Iterator[None]:
    """Make a pod for each device, and a name for the namespace we are in."""
    ip(f"netns attach {home} {os.getpid()}", *(f"netns add {device.pod}" for device in devices))
    try:
        yield
    finally:
        ip(f"netns del {home}", *(f"netns del {device.pod}" for device in devices))


def ip(*lines: str) -> None:
    """Run `ip` commands, one per line, in one process."""
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run(["ip", "-batch", "-"], input=text, text=True, check=True)
