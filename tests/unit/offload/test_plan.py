from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.flow import Flow, FlowKey, Owner, OwnerKind, Term
from offload.model import OWNER_KEY, BridgePort, BridgeWish, DpuState, Located, Wiring
from offload.plan import SwitchPlan, choose_uplink, locate, plan_flows, plan_switch, wire, wish_ports
from offload.step import AddFlow, ChangePort, DeleteFlow, EnsureBridge, RemovePort
from sriov.errors import BusyError, NotFoundError
from tests.fakes.vswitch import FakeDatabase
from tests.unit.offload.samples import make_attachment, make_port, make_state, make_uplink

BRIDGE = BridgeWish()
UPLINK_MAC = "02:00:00:00:aa:01"
PORTS = (make_uplink(), *(make_port(vf) for vf in range(4)))


def plan(state: DpuState, database: FakeDatabase, *, keep: frozenset[str] = frozenset()) -> SwitchPlan:
    located = locate(state.attachments, PORTS, switch_id=None)
    wishes = wish_ports(state, located, uplink="p0")
    return plan_switch(BRIDGE, wishes, database.read_switch("br-int"), uplink_mac=UPLINK_MAC, keep=keep)


def converge(state: DpuState, database: FakeDatabase) -> None:
    database.apply(plan(state, database).steps)


def test_an_empty_switch_gets_a_bridge_that_keeps_its_address_and_every_port() -> None:
    found = plan(make_state(make_attachment(0)), FakeDatabase())
    bridge, uplink, tunnel, pod = found.steps
    assert isinstance(bridge, EnsureBridge)
    assert bridge.hwaddr == UPLINK_MAC
    assert all(isinstance(step, ChangePort) for step in (uplink, tunnel, pod))
    assert isinstance(tunnel, ChangePort)
    assert dict(tunnel.wish.options) == {"remote_ip": "flow", "key": "flow", "local_ip": "192.0.2.11"}
    assert isinstance(pod, ChangePort)
    assert pod.wish.name == "eth0"
    assert dict(pod.wish.external_ids)["iface-id"] == "default_pod0"
    assert found.refusals == ()


VFS = st.lists(st.integers(0, 3), unique=True, max_size=4)


@given(VFS, VFS)
def test_after_a_plan_is_applied_there_is_nothing_left_to_do(before: list[int], after: list[int]) -> None:
    database = FakeDatabase()
    for vfs in (before, after):
        state = make_state(*(make_attachment(vf) for vf in vfs))
        converge(state, database)
        assert plan(state, database).steps == ()
    names = {port.name for port in database.read_switch("br-int").ports}
    assert names == {"br-int", "p0", "dpukit-tunnel", *(f"eth{vf}" for vf in after)}


@given(VFS)
def test_no_step_names_a_port_that_is_somebody_elses(vfs: list[int]) -> None:
    foreign = [
        BridgePort("patch0", "br-int", kind="patch", ofport=9),
        BridgePort("eth1", "br-int", ofport=8),
        BridgePort("eth2", "br-ovn", ofport=7, external_ids=((OWNER_KEY, "x"),)),
    ]
    found = plan(make_state(*(make_attachment(vf) for vf in vfs)), FakeDatabase(*foreign))
    named = {step.wish.name if isinstance(step, ChangePort) else step.name for step in found.steps}
    assert not named & {"patch0", "eth1", "eth2"}
    assert len(found.refusals) == len({1, 2} & set(vfs))


def test_a_port_in_the_way_is_refused_by_its_place() -> None:
    database = FakeDatabase(BridgePort("eth0", "br-ovn"), BridgePort("eth1", "br-int"))
    refusals = plan(make_state(make_attachment(0), make_attachment(1)), database).refusals
    assert str(refusals[0].error) == "port eth0: is in bridge 'br-ovn', not in 'br-int' (take it out of that bridge)"
    assert "was not put there by dpukit" in str(refusals[1].error)
    assert refusals[0].owner == "default/pod0 default"


def test_an_uplink_that_somebody_put_there_is_used_as_it_is() -> None:
    database = FakeDatabase(BridgePort("p0", "br-int", ofport=5))
    state = make_state()
    converge(state, database)
    snapshot = database.read_switch("br-int")
    assert plan(state, database).steps == ()
    assert wire(snapshot, wish_ports(state, (), uplink="p0")).uplink == 5


def test_a_vf_given_to_another_pod_changes_hands_with_its_port() -> None:
    database = FakeDatabase()
    converge(make_state(make_attachment(0)), database)
    other = make_attachment(0)
    other = type(other)("default/next", "default", "s9", other.vf, other.mac, other.ips)
    (step,) = plan(make_state(other), database).steps
    assert isinstance(step, ChangePort)
    assert step.reason == "the port was that of default/pod0 default"


def test_a_new_sandbox_is_told_to_the_port() -> None:
    database = FakeDatabase()
    converge(make_state(make_attachment(0)), database)
    old = make_attachment(0)
    newer = type(old)(old.pod, old.network, "newer", old.vf, old.mac, old.ips)
    (step,) = plan(make_state(newer), database).steps
    assert step.reason == "its external ids differ: sandbox"


def test_the_port_of_an_attachment_whose_representor_is_out_of_sight_stays() -> None:
    database = FakeDatabase()
    converge(make_state(make_attachment(0)), database)
    empty = make_state()
    assert plan(empty, database).steps == (
        RemovePort("br-int", "eth0", "nobody wants the port of default/pod0 default"),
    )
    assert plan(empty, database, keep=frozenset({"default/pod0 default"})).steps == ()


def test_one_attachment_without_representor_does_not_keep_the_others_from_theirs() -> None:
    located = locate([make_attachment(0), make_attachment(40)], PORTS, switch_id=None)
    assert located[0].representor == PORTS[1]
    assert located[1].representor is None
    assert "VF c1pf0vf40: has no representor" in located[1].problem


def test_two_representors_that_fit_are_a_problem_until_the_switch_is_named() -> None:
    twins = [*PORTS, make_port(0, netdev="twin", switch_id="aa")]
    (found,) = locate([make_attachment(0)], twins, switch_id=None)
    assert "has 2 representors" in found.problem
    (found,) = locate([make_attachment(0)], twins, switch_id="aa")
    assert found.representor is not None
    assert found.representor.netdev == "twin"


def test_a_vf_of_another_controller_is_another_vf() -> None:
    (found,) = locate([make_attachment(0)], [make_port(0, controller=2)], switch_id=None)
    assert "has no representor" in found.problem


def test_the_uplink_is_the_one_physical_port_or_the_one_named() -> None:
    assert choose_uplink(PORTS, wanted="auto", switch_id=None) == "p0"
    assert choose_uplink((), wanted="bond0", switch_id=None) == "bond0"
    with pytest.raises(NotFoundError, match="no physical port of an eswitch"):
        choose_uplink(PORTS[1:], wanted="auto", switch_id=None)
    two = (*PORTS, make_uplink(1, switch_id="aa"))
    with pytest.raises(BusyError, match="there are 2 uplinks: p0 of switch 00e1c20f0a5b, p1 of switch aa"):
        choose_uplink(two, wanted="auto", switch_id=None)
    assert choose_uplink(two, wanted="auto", switch_id="aa") == "p1"


def test_a_port_the_switch_cannot_open_has_no_number() -> None:
    state = make_state(make_attachment(0), make_attachment(1))
    database = FakeDatabase(missing=["eth0"])
    converge(state, database)
    located = [Located(attachment, make_port(attachment.vf.vf)) for attachment in state.attachments]
    wiring = wire(database.read_switch("br-int"), wish_ports(state, located, uplink="p0"))
    assert isinstance(wiring, Wiring)
    assert wiring.find_representor(state.attachments[0]) is None
    assert wiring.find_representor(state.attachments[1]) is not None


# -- flows -------------------------------------------------------------------------------------------------------------

OURS, FOREIGN = Owner(OwnerKind.BASE), 0x77


def make_flow(table: int, port: int, *, cookie: int = OURS.cookie, priority: int = 1) -> Flow:
    return Flow(table, priority, (Term("in_port", port),), (), cookie)


FLOWS = st.lists(
    st.builds(
        make_flow, st.integers(0, 2), st.integers(1, 3), cookie=st.sampled_from([OURS.cookie, FOREIGN, OURS.cookie + 1])
    ),
    max_size=12,
)


def by_key(flows: list[Flow]) -> dict[FlowKey, Flow]:
    return {flow.key: flow for flow in flows}


@given(FLOWS, FLOWS)
def test_applying_a_flow_plan_leaves_no_plan_and_every_foreign_flow(wanted: list[Flow], there: list[Flow]) -> None:
    desired = {OURS: tuple(flow for flow in by_key(wanted).values() if flow.is_ours)}
    installed = by_key(there)
    foreign = {key for key, flow in installed.items() if not flow.is_ours} - {flow.key for flow in desired[OURS]}
    for step in plan_flows(desired, installed):
        match step:
            case AddFlow(flow):
                installed[flow.key] = flow
            case DeleteFlow(flow):
                assert flow.is_ours
                del installed[flow.key]
    assert plan_flows(desired, installed) == ()
    assert foreign <= installed.keys()


def test_an_unchanged_flow_is_not_touched() -> None:
    flow = make_flow(0, 1)
    assert plan_flows({OURS: (flow,)}, {flow.key: flow}) == ()
