"""The words of the field as values: addresses and functions that cannot be malformed.

Pure: nothing here asks the machine anything. Formats follow the kernel: a PCI address as in ``/sys/bus/pci/devices``
(Linux, drivers/pci/pci-sysfs.c), a MAC address as in ``/sys/class/net/*/address``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from sriov.errors import InputError

# [0-9] and not \d, which accepts the digits of every script.
_PCI = re.compile(r"([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")

VLAN_MAX = 4094
MTU_MIN, MTU_MAX = 68, 65535
"""68 octets is the least an IPv4 link may have (RFC 791); 65535 the most the field holds."""


@dataclass(frozen=True, order=True, slots=True)
class PciAddress:
    """A PCI function: domain, bus, device, function."""

    domain: int
    bus: int
    device: int
    function: int

    @classmethod
    def parse(cls, text: str, *, subject: str = "PCI address") -> Self:
        """Read ``0000:3b:02.1``.

        Raises:
            InputError: `text` is anything else; `subject` names the field it came from.
        """
        match = _PCI.fullmatch(text)
        if match is None or int(match[3], 16) > 0x1F:
            raise InputError(
                subject, f"{text!r} is not a PCI address", hint="write it as 0000:3b:02.1, as lspci -D does"
            )
        return cls(*(int(part, 16) for part in match.groups()))

    @property
    def routing_id(self) -> int:
        """Its number on its domain: bus, device and function in 16 bits (PCI Express, "Routing ID")."""
        return self.bus << 8 | self.device << 3 | self.function

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function:x}"


@dataclass(frozen=True, order=True, slots=True)
class MacAddress:
    """A 48-bit Ethernet address."""

    octets: bytes

    @classmethod
    def parse(cls, text: str, *, subject: str = "MAC address") -> Self:
        """Read ``0a:58:0a:01:01:02`` (colons or hyphens, either case).

        Raises:
            InputError: `text` is anything else.
        """
        if _MAC.fullmatch(text) is None:
            raise InputError(subject, f"{text!r} is not a MAC address", hint="write it as 0a:58:0a:01:01:02")
        return cls(bytes.fromhex(text.replace(":", "").replace("-", "")))

    @classmethod
    def parse_unicast(cls, text: str, *, subject: str = "MAC address") -> Self:
        """Read an address that an interface may have: not multicast, not all zero.

        Raises:
            InputError: `text` is no such address.
        """
        mac = cls.parse(text, subject=subject)
        if mac.octets[0] & 1 or not any(mac.octets):
            raise InputError(
                subject, f"{text!r} is not a unicast address", hint="an interface needs one whose first octet is even"
            )
        return mac

    @property
    def is_zero(self) -> bool:
        """Whether it is all zero, the kernel's word for "none given"."""
        return not any(self.octets)

    def __str__(self) -> str:
        return self.octets.hex(":")


@dataclass(frozen=True, slots=True)
class Vf:
    """A virtual function as sysfs shows it.

    `index` is the N of its PF's ``virtfnN``, the number rtnetlink's VF attributes use. `netdev` is its network device
    in the reader's own network namespace; None when it has none there (another driver, or moved into a pod).
    """

    address: PciAddress
    index: int
    driver: str | None
    netdev: str | None


@dataclass(frozen=True, slots=True)
class NetdevState:
    """What is set on a network device, and whether it has a link; `carrier` is None while the device is down."""

    name: str
    mtu: int
    up: bool
    carrier: bool | None


@dataclass(frozen=True, slots=True)
class Pf:
    """A physical function as sysfs shows it.

    `netdev` is the PF's own device (in switchdev mode the uplink representor), None when it has none. `eswitch_mode` is
    None when the driver has no devlink eswitch. `numa_node` is None when the platform does not say.
    """

    address: PciAddress
    netdev: str | None
    driver: str | None
    vendor: str
    device: str
    numa_node: int | None
    mac: MacAddress | None
    mtu: int | None
    carrier: bool | None
    eswitch_mode: str | None
    num_vfs: int
    total_vfs: int
    vfs: tuple[Vf, ...]
    vf_device: str = ""
    """The device id all its VFs have (four hex digits); their vendor is the PF's (drivers/pci/iov.c)."""
    vf_autoprobe: bool = True
    """Whether the kernel gives its VFs a driver; while it does not, only ``driver_override`` can (pci-driver.c)."""
