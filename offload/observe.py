"""Look at the kernel's side of the switch: ports of the eswitch, MAC addresses. Changes nothing."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface

from sriov.document import Interface
from sriov.kernel.devlink import Devlink
from sriov.kernel.link import Links, open_rtnetlink
from sriov.kernel.netlink import NetlinkSocket, parse_attributes
from sriov.kernel.sysfs import Sysfs
from sriov.representor import SwitchPort

_READ_ADDRESSES = 22
_ADDRESS_HEADER = struct.Struct("=BBBBI")  # struct ifaddrmsg, include/uapi/linux/if_addr.h
_FAR_ADDRESS, _OWN_ADDRESS = 1, 2


def read_switch_ports(sysfs: Sysfs) -> tuple[SwitchPort, ...]:
    """Read the ports of every eswitch in this namespace: as devlink tells, and as `sysfs` does where devlink is silent.

    Raises:
        KernelError: the kernel refused.
    """
    return Devlink().read_ports() or sysfs.read_switch_ports()


def find_mac(netdev: str) -> str:
    """Return the MAC address of a network device; empty when there is no such device, or it has none.

    Raises:
        KernelError: the kernel refused.
    """
    with open_rtnetlink(subject=netdev) as netlink:
        link = Links(netlink).find(netdev)
    return str(link.mac) if link and link.mac else ""


def read_addresses(netlink: NetlinkSocket, ifindex: int) -> tuple[Interface, ...]:
    """Read the addresses of a network device.

    Raises:
        KernelError: the kernel refused.
    """
    request = _ADDRESS_HEADER.pack(0, 0, 0, 0, ifindex)
    messages = netlink.dump(_READ_ADDRESSES, request, operation="list addresses")
    found = (parse_interface_address(message.payload) for message in messages)
    return tuple(address for index, address in found if index == ifindex and address is not None)


def parse_interface_address(payload: bytes) -> tuple[int, Interface | None]:
    """Read (ifindex, address) of one entry of a dump. Pure."""
    _family, prefix, _flags, _scope, index = _ADDRESS_HEADER.unpack_from(payload)
    attributes = parse_attributes(payload[_ADDRESS_HEADER.size :])
    octets = attributes.get(_OWN_ADDRESS) or attributes.get(_FAR_ADDRESS)
    return index, ip_interface(f"{ip_address(octets)}/{prefix}") if octets and len(octets) in (4, 16) else None
