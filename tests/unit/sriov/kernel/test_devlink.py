from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov.kernel.devlink import parse_port, parse_switch_id
from sriov.kernel.netlink import pack_attribute, pack_text
from sriov.representor import Flavour, PortName

PHYSICAL, PF, VF, CPU, SF = 0, 3, 4, 1, 7


def make_port(flavour: int, *, netdev: str = "eth3", **numbers: int) -> bytes:
    """One port as the kernel shows it: attributes by number and width (include/uapi/linux/devlink.h)."""
    forms = {"number": (78, "=I"), "pf": (127, "=H"), "vf": (128, "=H"), "sf": (164, "=I")}
    forms |= {"external": (149, "=B"), "controller": (150, "=I")}
    found = pack_text(1, "pci") + pack_text(2, "0000:03:00.0") + pack_attribute(3, struct.pack("=I", 9))
    found += pack_attribute(77, struct.pack("=H", flavour))
    if netdev:
        found += pack_attribute(6, struct.pack("=I", 12)) + pack_text(7, netdev)
    for name, value in numbers.items():
        kind, form = forms[name]
        found += pack_attribute(kind, struct.pack(form, value))
    return found


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (make_port(PHYSICAL, number=1), "p1"),
        (make_port(PF, pf=0, external=1, controller=1), "c1pf0"),
        (make_port(VF, pf=0, vf=3, external=1, controller=1), "c1pf0vf3"),
        (make_port(VF, pf=1, vf=0, external=1, controller=2), "c2pf1vf0"),
        (make_port(VF, pf=0, vf=3, external=0, controller=0), "pf0vf3"),
        (make_port(SF, pf=0, sf=88), "pf0sf88"),
    ],
)
def test_a_port_is_the_one_its_phys_port_name_would_say(payload: bytes, text: str) -> None:
    port = parse_port(payload)
    assert port is not None
    assert port.name == PortName.parse(text)
    assert (port.netdev, port.ifindex) == ("eth3", 12)


def test_a_port_without_a_device_here_or_of_another_flavour_is_left_out() -> None:
    assert parse_port(make_port(VF, netdev="", pf=0, vf=3)) is None
    assert parse_port(make_port(CPU)) is None
    assert parse_port(b"") is None


def test_vfs_of_two_controllers_are_two() -> None:
    one, two = (parse_port(make_port(VF, pf=0, vf=0, external=1, controller=number)) for number in (1, 2))
    assert one is not None
    assert two is not None
    assert one.name != two.name
    assert one.name.flavour is Flavour.PCI_VF


def test_the_switch_id_is_read_with_the_links_number() -> None:
    header = struct.pack("=BxHiII", 0, 1, 12, 0, 0)
    assert parse_switch_id(header + pack_attribute(36, bytes.fromhex("00e1c20f"))) == (12, "00e1c20f")
    assert parse_switch_id(header + pack_text(3, "lo")) == (12, None)


@given(st.binary(max_size=100))
def test_any_octets_are_read_without_a_crash(octets: bytes) -> None:
    parse_port(octets)
    parse_switch_id(struct.pack("=BxHiII", 0, 1, 12, 0, 0) + octets)
