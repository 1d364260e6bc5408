"""A sysfs that knows where veth ends are: for tests that perform calls in a process whose own namespace is the node's.

The VF number N is the veth end whose other end, at home, is called ``wireN``: whatever becomes of its name, number and
place, the kernel tells the one from the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sriov.errors import KernelError
from sriov.kernel.netlink import ROUTE, NetlinkSocket, open_netlink, read_number, read_text, walk_attributes
from sriov.kernel.sysfs import Sysfs
from sriov.model import PciAddress
from tests.netns.cni.conftest import VFS

_GETLINK = 18
_ADDRESS, _IFNAME, _MTU, _PEER, _PEER_NETNS, _PROPERTIES = 1, 3, 4, 5, 37, 52


class LiveSysfs(Sysfs):
    """Names a VF's device by asking the kernel where the veth end is: sysfs does this by itself for a real one."""

    def find_netdev(self, address: PciAddress) -> str | None:
        if str(address) not in VFS:
            return super().find_netdev(address)
        name = f"wire{VFS.index(str(address))}".encode() + b"\0"
        wire = _ask(0, (4 + len(name)).to_bytes(2, "little") + b"\3\0" + name + b"\0" * (-len(name) % 4))
        try:
            return None if _PEER_NETNS in wire else read_text(_ask(read_number(wire[_PEER]), b"")[_IFNAME])
        except KernelError:
            # It left between the two questions.
            return None


def _ask(index: int, attributes: bytes) -> Mapping[int, bytes]:
    with open_netlink(ROUTE, subject="test") as netlink:
        request = b"\0" * 4 + index.to_bytes(4, "little") + b"\0" * 8 + attributes
        (said,) = netlink.request(_GETLINK, request, operation="look")
    return dict(walk_attributes(said.payload[16:]))


@dataclass(frozen=True)
class Device:
    """A network device, read by these tests' own means."""

    index: int
    name: str
    altnames: frozenset[str]
    mac: str
    mtu: int
    up: bool
    peer: int | None
    """For a veth end the number of its other end, wherever that is."""


def read_devices(netlink: NetlinkSocket) -> tuple[Device, ...]:
    """Read all devices of the socket's namespace."""
    return tuple(_read(message.payload) for message in netlink.dump(_GETLINK, b"\0" * 16, operation="list"))


def _read(payload: bytes) -> Device:
    said = dict(walk_attributes(payload[16:]))
    return Device(
        index=read_number(payload[4:8]),
        name=read_text(said[_IFNAME]),
        altnames=frozenset(read_text(value) for _, value in walk_attributes(said.get(_PROPERTIES, b""))),
        mac=said[_ADDRESS].hex(":"),
        mtu=read_number(said[_MTU]),
        up=bool(payload[8] & 1),
        peer=read_number(said[_PEER]) if _PEER in said else None,
    )
