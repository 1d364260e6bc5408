"""The fake database and the real one take the same steps to the same end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import pytest

from offload.model import BridgePort, BridgeWish, SwitchSnapshot
from offload.plan import locate, plan_switch, wire, wish_ports
from offload.step import SwitchStep
from offload.vswitch.database import open_database
from tests.fakes.vswitch import FakeDatabase
from tests.unit.offload.samples import make_attachment, make_port, make_state

pytestmark = pytest.mark.netns


class AnyDatabase(Protocol):
    def read_switch(self, bridge: str) -> SwitchSnapshot: ...
    def apply(self, steps: tuple[SwitchStep, ...]) -> None: ...


@pytest.fixture(params=["fake", "real"])
def database(request: pytest.FixtureRequest) -> Iterator[AnyDatabase]:
    if request.param == "fake":
        yield FakeDatabase()
        return
    with open_database(request.getfixturevalue("dummy_switch").remote) as real:
        yield real


def converge(database: AnyDatabase, *vfs: int, names: str = "eth") -> tuple[SwitchStep, ...]:
    """Plan and apply for these VFs; return the plan made afterwards, which must be empty."""
    state = make_state(*(make_attachment(vf) for vf in vfs))
    located = locate(state.attachments, [make_port(vf, netdev=f"{names}{vf}") for vf in vfs], switch_id=None)
    wishes = wish_ports(state, located, uplink="p0")
    plans = []
    for _ in range(2):
        snapshot = database.read_switch("br-int")
        plan = plan_switch(BridgeWish(), wishes, snapshot, uplink_mac="02:00:00:00:aa:01", keep=frozenset())
        database.apply(plan.steps)
        plans.append(plan)
    wiring = wire(database.read_switch("br-int"), wishes)
    assert wiring.uplink == 1
    assert wiring.tunnel == 2
    assert len(wiring.representors) == len(vfs)
    return plans[1].steps


def ports_of(database: AnyDatabase) -> dict[str, BridgePort]:
    found = database.read_switch("br-int").ports
    return {port.name: replace(port, options=tuple(sorted(port.options))) for port in found}


def test_a_plan_once_applied_leaves_nothing_to_do(database: AnyDatabase) -> None:
    assert converge(database, 0, 1, 2) == ()
    assert converge(database, 2, 3) == ()
    assert converge(database) == ()
    assert set(ports_of(database)) == {"br-int", "p0", "dpukit-tunnel"}


def test_numbers_are_by_vf_and_follow_a_renamed_representor(database: AnyDatabase) -> None:
    converge(database, 0, 1)
    before = ports_of(database)
    assert converge(database, 0, 1, names="other") == ()
    after = ports_of(database)
    assert [after[f"other{vf}"].ofport for vf in (0, 1)] == [before[f"eth{vf}"].ofport for vf in (0, 1)]
    assert "eth0" not in after


def test_the_same_steps_show_the_same_ports(request: pytest.FixtureRequest) -> None:
    fake = FakeDatabase()
    with open_database(request.getfixturevalue("dummy_switch").remote) as real:
        for database in (fake, real):
            converge(database, 0, 5)
        assert ports_of(fake) == ports_of(real)
        assert fake.read_switch("br-int").bridge == real.read_switch("br-int").bridge
