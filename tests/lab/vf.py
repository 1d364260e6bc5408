"""VFs and pods for tests that are not about the CNI plugin: make VFs, put one into a namespace, wait for it to come home."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import netns
from tests.lab.fabric import PCI, wire
from tests.lab.model import Host


def set_vfs(host: Host, count: int) -> None:
    """Make so many VFs, as an administrator would by hand, and wire them."""
    file = PCI / host.pf / "sriov_numvfs"
    if int(file.read_text()) != count:
        file.write_text("0")  # the kernel changes a number only by way of none
        if count:
            file.write_text(str(count))
    wait_for(
        lambda: all((PCI / host.vf_pci(vf) / "net").exists() for vf in range(count)), f"{count} VF netdevs of {host.pf}"
    )
    wire(host)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait until something is so; the lab is slow, but not that slow."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


def home_netdev(host: Host, vf: int) -> str | None:
    """Return the netdev of a VF if it is in the initial namespace: sysfs shows it only there."""
    folder = PCI / host.vf_pci(vf) / "net"
    return next((path.name for path in folder.iterdir()), None) if folder.exists() else None


@dataclass(frozen=True, slots=True)
class Pod:
    """A network namespace that plays a pod's."""

    name: str

    @property
    def path(self) -> Path:
        """The namespace, as CNI_NETNS wants it."""
        return Path("/run/netns", self.name)

    def run(self, *command: str) -> str:
        """Run a command in it."""
        return netns.run(command, netns=self.name)

    def take_vf(self, host: Host, vf: int, *addresses: str) -> None:
        """Move a VF in as net1, without the CNI plugin, and give it addresses."""
        wait_for(lambda: home_netdev(host, vf) is not None, f"VF {vf} of {host.pf} to be at home")
        netns.ip([f"link set {home_netdev(host, vf)} netns {self.name} name net1"])
        lines = [f"address add {address} dev net1{' nodad' if ':' in address else ''}" for address in addresses]
        netns.ip(["link set lo up", *lines, "link set net1 up"], netns=self.name)
        self.wait_for_carrier("net1")

    def wait_for_carrier(self, link: str) -> None:
        """Wait until a link has a carrier: igbvf asks its PF and takes a moment."""
        wait_for(
            lambda: "LOWER_UP" in netns.show(f"ip link show {link}", netns=self.name)[0]["flags"], f"carrier of {link}"
        )

    def pings(self, address: str, *, count: int = 1, wait: int = 5) -> bool:
        """Say whether one of some pings is answered."""
        try:
            self.run("ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(wait), address)
        except netns.CommandError:
            return False
        return True
