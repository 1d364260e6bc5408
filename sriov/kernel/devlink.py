"""Ask devlink for eswitch modes and for the ports of each eswitch, and set the mode.

Attributes and commands by their numbers in include/uapi/linux/devlink.h (Linux 6.12). devlink knows a port's controller
and function, but not the id of its switch: that comes from rtnetlink (``IFLA_PHYS_SWITCH_ID``) of the port's network
device. A port whose device is not in this network namespace has no device here, and is left out. A kernel without
devlink has no eswitch: empty answers, no error.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sriov.errors import KernelError, UnsupportedError
from sriov.kernel.netlink import (
    GENERIC,
    ROUTE,
    NetlinkSocket,
    find_family,
    generic,
    open_netlink,
    pack_attribute,
    pack_text,
    parse_attributes,
    read_number,
    read_text,
)
from sriov.model import PciAddress
from sriov.representor import Flavour, PortName, SwitchPort

_READ_DEVICES, _READ_PORTS, _READ_ESWITCH, _WRITE_ESWITCH = 1, 5, 29, 30
_BUS, _DEVICE, _NETDEV_IFINDEX, _NETDEV_NAME, _ESWITCH_MODE = 1, 2, 6, 7, 25
_FLAVOUR, _PORT_NUMBER, _PF_NUMBER, _VF_NUMBER = 77, 78, 127, 128
_EXTERNAL, _CONTROLLER, _SF_NUMBER = 149, 150, 164

_MODES = {0: "legacy", 1: "switchdev"}
_FLAVOURS = {0: Flavour.PHYSICAL, 3: Flavour.PCI_PF, 4: Flavour.PCI_VF, 7: Flavour.PCI_SF}
_NUMBERS = {Flavour.PHYSICAL: _PORT_NUMBER, Flavour.PCI_VF: _VF_NUMBER, Flavour.PCI_SF: _SF_NUMBER}

_READ_LINKS = 18
_PHYS_SWITCH_ID = 36
_LINK_HEADER = struct.Struct("=BxHiII")

# What a device without an eswitch answers when asked for its mode.
_NO_ESWITCH = (errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class DevlinkPort:
    """A port as devlink tells it: what it leads to, and its network device here."""

    name: PortName
    netdev: str
    ifindex: int


class Devlink:
    """The devlink of the network namespace of the calling thread; every question reads anew."""

    def read_eswitch_modes(self) -> Mapping[str, str]:
        """Read the eswitch mode of every device that has an eswitch, by ``bus/device`` (``pci/0000:01:00.0``).

        Raises:
            KernelError: the kernel refused.
        """
        modes = {}
        with _open() as (netlink, family):
            if family is None:
                return {}
            for message in netlink.dump(family, generic(_READ_DEVICES), operation="list devlink devices"):
                attributes = parse_attributes(message.payload[4:])
                device = f"{read_text(attributes[_BUS])}/{read_text(attributes[_DEVICE])}"
                mode = _find_mode(netlink, family, device)
                if mode is not None:
                    modes[device] = mode
        return modes

    def find_eswitch_mode(self, address: PciAddress) -> str | None:
        """Return ``legacy`` or ``switchdev``; None when the function has no eswitch.

        Raises:
            KernelError: the kernel refused.
        """
        with _open() as (netlink, family):
            return None if family is None else _find_mode(netlink, family, f"pci/{address}")

    def write_eswitch_mode(self, address: PciAddress, mode: str) -> None:
        """Set the mode of the PF's eswitch; its representors appear, or vanish, before this returns.

        Raises:
            UnsupportedError: the kernel has no devlink.
            KernelError: the driver refused; `said` holds its words.
        """
        codes = {word: code for code, word in _MODES.items()}
        with _open() as (netlink, family):
            if family is None:
                raise UnsupportedError(
                    f"PF {address}", "this kernel has no devlink", hint="eswitch modes need CONFIG_NET_DEVLINK"
                )
            payload = _handle(f"pci/{address}") + pack_attribute(_ESWITCH_MODE, struct.pack("=H", codes[mode]))
            netlink.request(
                family, generic(_WRITE_ESWITCH, payload), operation=f"set the eswitch of {address} to {mode}"
            )

    def read_ports(self) -> tuple[SwitchPort, ...]:
        """Read every port of every eswitch whose network device is in this namespace.

        Raises:
            KernelError: the kernel refused.
        """
        with _open() as (netlink, family):
            if family is None:
                return ()
            messages = netlink.dump(family, generic(_READ_PORTS), operation="list devlink ports")
        ports = [port for message in messages if (port := parse_port(message.payload[4:]))]
        switch_ids = _read_switch_ids() if ports else {}
        return tuple(
            SwitchPort(switch_ids[port.ifindex], port.name, port.netdev, port.ifindex)
            for port in ports
            if port.ifindex in switch_ids
        )


def parse_port(payload: bytes) -> DevlinkPort | None:
    """Read one port of a dump; None for a port of another flavour, or without a network device here. Pure."""
    attributes = parse_attributes(payload)
    flavour = _FLAVOURS.get(read_number(attributes[_FLAVOUR])) if _FLAVOUR in attributes else None
    if flavour is None or _NETDEV_NAME not in attributes or _NETDEV_IFINDEX not in attributes:
        return None
    number = attributes.get(_NUMBERS.get(flavour, 0))
    # As in phys_port_name: the controller is part of a port's identity when it is an external one.
    external = read_number(attributes.get(_EXTERNAL, b"\0")) != 0
    name = PortName(
        flavour,
        read_number(attributes.get(_CONTROLLER, b"\0")) if external else 0,
        read_number(attributes.get(_PF_NUMBER, b"\0")),
        None if number is None else read_number(number),
    )
    return DevlinkPort(name, read_text(attributes[_NETDEV_NAME]), read_number(attributes[_NETDEV_IFINDEX]))


def parse_switch_id(payload: bytes) -> tuple[int, str | None]:
    """Read (ifindex, switch id in hex) of one link of an rtnetlink dump; the id is None for a link of no switch. Pure."""
    ifindex = _LINK_HEADER.unpack_from(payload)[2]
    switch_id = parse_attributes(payload[_LINK_HEADER.size :]).get(_PHYS_SWITCH_ID)
    return ifindex, switch_id.hex() if switch_id else None


@contextmanager
def _open() -> Iterator[tuple[NetlinkSocket, int | None]]:
    with open_netlink(GENERIC, subject="devlink") as netlink:
        yield netlink, find_family(netlink, "devlink")


def _handle(device: str) -> bytes:
    bus, _, name = device.partition("/")
    return pack_text(_BUS, bus) + pack_text(_DEVICE, name)


def _find_mode(netlink: NetlinkSocket, family: int, device: str) -> str | None:
    operation = f"read the eswitch mode of {device}"
    try:
        messages = netlink.request(family, generic(_READ_ESWITCH, _handle(device)), operation=operation)
    except KernelError as error:
        if error.errno in _NO_ESWITCH:
            return None
        raise
    mode = parse_attributes(messages[0].payload[4:]).get(_ESWITCH_MODE) if messages else None
    return None if mode is None else _MODES.get(read_number(mode))


def _read_switch_ids() -> dict[int, str]:
    with open_netlink(ROUTE, subject="network devices") as netlink:
        messages = netlink.dump(_READ_LINKS, _LINK_HEADER.pack(0, 0, 0, 0, 0), operation="list network devices")
    links = (parse_switch_id(message.payload) for message in messages)
    return {ifindex: switch_id for ifindex, switch_id in links if switch_id}
