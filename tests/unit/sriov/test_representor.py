"""The grammar of phys_port_name, and choosing one representor among many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov.errors import BusyError, NotFoundError
from sriov.representor import Flavour, PortName, SwitchPort, VfPort, choose_representor

vf_ports = st.builds(VfPort, st.integers(0, 9), st.integers(0, 9), st.integers(0, 300))


def port(name: str, *, switch_id: str = "aa", netdev: str = "rep") -> SwitchPort:
    parsed = PortName.parse(name)
    assert parsed is not None
    return SwitchPort(switch_id, parsed, netdev, 1)


@given(vf_ports)
def test_a_vf_port_reads_back_as_itself(wanted: VfPort) -> None:
    assert port(str(wanted)).vf_port == wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p0", PortName(Flavour.PHYSICAL, number=0)),
        ("p1s2", PortName(Flavour.PHYSICAL, number=1)),
        ("pf0", PortName(Flavour.PCI_PF)),
        ("c1pf0", PortName(Flavour.PCI_PF, controller=1)),
        ("pf1vf12", PortName(Flavour.PCI_VF, pf=1, number=12)),
        ("c2pf0vf3", PortName(Flavour.PCI_VF, controller=2, number=3)),
        ("pf0sf88", PortName(Flavour.PCI_SF, number=88)),
    ],
)
def test_the_kernels_forms_are_read(text: str, expected: PortName) -> None:
    assert PortName.parse(text) == expected


@pytest.mark.parametrize("text", ["", "3", "eth0", "pf0vf", "c1p0", "pf0vf03", "xpf0vf3", "pf0vf3x", "pf٠vf3"])
def test_other_texts_are_no_port_names(text: str) -> None:
    assert PortName.parse(text) is None


def test_the_controller_is_part_of_the_identity() -> None:
    ports = (port("c1pf0vf3", netdev="a"), port("c2pf0vf3", netdev="b"), port("pf0vf3", netdev="c"))
    assert choose_representor(ports, VfPort(2, 0, 3)).netdev == "b"
    assert choose_representor(ports, VfPort(0, 0, 3)).netdev == "c"


def test_uplinks_pfs_and_sfs_are_no_vfs() -> None:
    assert [port(name).vf_port for name in ("p0", "c1pf0", "c1pf0sf3")] == [None, None, None]


def test_two_that_fit_are_an_error_that_names_both() -> None:
    ports = (port("c1pf0vf3", netdev="a", switch_id="aa"), port("c1pf0vf3", netdev="b", switch_id="bb"))
    with pytest.raises(BusyError, match="a of switch aa, b of switch bb") as caught:
        choose_representor(ports, VfPort(1, 0, 3))
    assert "switchId" in caught.value.hint
    assert choose_representor(ports, VfPort(1, 0, 3), switch_id="bb").netdev == "b"


def test_none_that_fits_is_an_error_that_tells_what_was_seen() -> None:
    with pytest.raises(NotFoundError, match=r"VF c1pf0vf4: has no representor; seen: c1pf0vf3 \(a\)"):
        choose_representor((port("c1pf0vf3", netdev="a"), port("p0")), VfPort(1, 0, 4))
