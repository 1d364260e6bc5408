"""What is said of a VF and a PF beyond what sysfs shows."""

from __future__ import annotations

import pytest

from deviceplugin.model import HostPf, HostVf
from sriov.model import NetdevState, PciAddress, Pf, Vf


@pytest.mark.parametrize(
    ("driver", "netdev", "away"),
    [("igbvf", "v0", False), ("igbvf", None, True), ("vfio-pci", None, False), (None, None, False)],
)
def test_a_vf_is_away_when_its_driver_makes_a_network_device_and_none_is_here(
    driver: str | None, netdev: str | None, away: bool
) -> None:
    state = NetdevState(netdev, 1500, up=False, carrier=None) if netdev else None
    assert HostVf(Vf(PciAddress(0, 1, 0x10, 0), 0, driver, netdev), state).is_away is away


@pytest.mark.parametrize(("netdev", "text"), [("ens0", "0000:01:00.0 (ens0)"), (None, "0000:01:00.0")])
def test_a_pf_is_named_as_people_look_for_it(netdev: str | None, text: str) -> None:
    pf = Pf(PciAddress(0, 1, 0, 0), netdev, "igb", "8086", "10c9", None, None, None, None, None, 0, 7, ())
    assert str(HostPf(pf, None, ())) == text
