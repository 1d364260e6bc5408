"""VFs without hardware: one end of a veth pair each, with a tree of sysfs' shape that says which is which."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.node import IFNAME
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

PF = "0000:03:00.0"


class VethDevices:
    """The VFs' stand-ins, in the namespace of this process.

    Args:
        folder: where to make the tree.
        count: how many.
    """

    def __init__(self, folder: Path, *, count: int) -> None:
        self._vfs = tuple(f"0000:03:{0x10 + number // 8:02x}.{number % 8:x}" for number in range(count))
        functions = tuple(FakeVf(address, f"vf{number}") for number, address in enumerate(self._vfs))
        self._sysfs = FakeSysfs(folder, FakePf(PF, "pf0", functions, total_vfs=count))
        _ip("link add pf0 type veth peer name pf0x")
        self._make_links()

    @property
    def vfs(self) -> tuple[str, ...]:
        """Return their PCI addresses."""
        return self._vfs

    def environment(self) -> Mapping[str, str]:
        """Return what tells dpukit where the tree is."""
        return {"DPUKIT_SYSFS": str(self._sysfs.root)}

    def look(self) -> Mapping[str, object]:
        """Return what a pod may have changed, of those that are at home under their own names."""
        names = {f"vf{number}": vf for number, vf in enumerate(self._vfs)}
        words = ("address", "mtu", "promiscuity", "txqlen", "group", "altnames")
        return {
            names[link["ifname"]]: {word: link.get(word) for word in words} | {"up": "UP" in link["flags"]}
            for link in _links()
            if link["ifname"] in names
        }

    def send_home(self, vf: str, netns: str) -> None:
        """Move one home as the kernel does when its namespace ends; a veth would die with it.

        It has the name then that it had in the pod, or ``devN`` where that is taken (``default_device_exit_net()``).
        """
        taken = _names()
        self._follow(taken)
        name = next(name for name in (IFNAME, *(f"dev{number}" for number in range(99))) if name not in taken)
        # The tree first: whoever is told of the move by the kernel looks there at once.
        self._sysfs.place_netdev(vf, name)
        words = ("ip", "link", "set", IFNAME, "netns", str(os.getpid()), "name", name)
        subprocess.run(["nsenter", f"--net={netns}", *words], check=True)

    def _follow(self, names: set[str]) -> None:
        """Let the tree show those VFs under their own names that were restored since."""
        for number, vf in enumerate(self._vfs):
            own = f"vf{number}"
            if own in names and not (self._sysfs.root / "class/net" / own).exists():
                self._sysfs.place_netdev(vf, own)

    def settle(self) -> None:
        """Let the tree show the VFs under their own names again, as sysfs does by itself."""
        for number, vf in enumerate(self._vfs):
            self._sysfs.place_netdev(vf, f"vf{number}")

    def lose_power(self) -> None:
        """Make all links anew: those in pods died with their namespaces."""
        # Wherever its other end is, it goes, too. Some are going already.
        for name in _names():
            if name.startswith("wire"):
                subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        self._make_links()
        self.settle()

    def _make_links(self) -> None:
        for number in range(len(self._vfs)):
            mac = f"02:00:00:00:03:{number:02x}"
            _ip(f"link add vf{number} address {mac} type veth peer name wire{number}", f"link set wire{number} up")


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)


def _links() -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = json.loads(
        subprocess.run(["ip", "-json", "-details", "link"], check=True, capture_output=True).stdout
    )
    return links


def _names() -> set[str]:
    return {str(link["ifname"]) for link in _links()}
