from __future__ import annotations

from offload.model import OWNER_KEY, BridgePort, SwitchSnapshot, Wiring
from tests.unit.offload.samples import make_attachment


def test_a_port_without_our_word_is_nobodys_of_ours() -> None:
    assert BridgePort("eth0", "br-int", external_ids=(("iface-id", "x"),)).owner is None
    assert BridgePort("eth0", "br-int", external_ids=((OWNER_KEY, "uplink"),)).owner == "uplink"


def test_a_snapshot_finds_a_port_in_any_bridge() -> None:
    snapshot = SwitchSnapshot(ports=(BridgePort("eth0", "br-other"),))
    assert snapshot.find_port("eth0") is not None
    assert snapshot.find_port("eth1") is None


def test_an_attachment_that_is_not_plugged_has_no_number() -> None:
    wiring = Wiring(representors=((make_attachment(1).key, 7),))
    assert wiring.find_representor(make_attachment(1)) == 7
    assert wiring.find_representor(make_attachment(2)) is None
