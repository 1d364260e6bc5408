from __future__ import annotations

from dataclasses import replace

import pytest

from offload.datapath import DatapathFlow, TcRule
from offload.model import Located
from offload.verdict import ClassVerdict, Facts, FlowClass, Verdict, find_in_hardware, judge
from tests.unit.offload.samples import make_attachment, make_port

PODS = tuple(Located(make_attachment(vf), make_port(vf)) for vf in range(2))


def make_flow(ufid: str, in_port: str, *outputs: str, **changes: object) -> DatapathFlow:
    flow = DatapathFlow(ufid, in_port, 0, 0x800, False, False, outputs, (), False, 5, "tc", "yes", "")
    return replace(flow, **changes)  # type: ignore[arg-type]


def make_rule(ufid: str, *, in_hw: bool = True) -> TcRule:
    return TcRule(9, 0, 4, 8, 1, ufid, in_hw, not in_hw, int(in_hw))


OUT, BACK = make_flow("1", "eth0", "eth1"), make_flow("2", "eth1", "eth0")
LOCAL = (OUT, BACK)


def facts(*flows: DatapathFlow, refused: tuple[str, ...] = (), without: tuple[str, ...] = (), **more: object) -> Facts:
    rules = {
        flow.ufid: make_rule(flow.ufid, in_hw=flow.ufid not in refused) for flow in flows if flow.ufid not in without
    }
    return Facts(flows=flows, rules=rules, **more)  # type: ignore[arg-type]


def verdict_of(found: Facts, *, pod: int = 0, flow_class: FlowClass = FlowClass.POD_POD_LOCAL) -> ClassVerdict:
    (verdict,) = (
        one for one in judge(PODS, found) if one.attachment == PODS[pod].attachment and one.flow_class is flow_class
    )
    return verdict


def test_both_directions_in_hardware_are_hardware() -> None:
    found = verdict_of(facts(*LOCAL))
    assert (found.verdict, found.in_hw, found.total, found.reason) == (Verdict.HARDWARE, 2, 2, "")


def test_no_flow_is_idle_and_not_hardware() -> None:
    assert verdict_of(facts(*LOCAL), flow_class=FlowClass.POD_POD_REMOTE).verdict is Verdict.IDLE
    assert verdict_of(facts()).verdict is Verdict.IDLE


def test_one_direction_in_software_is_software_with_the_drivers_words() -> None:
    found = verdict_of(facts(*LOCAL, refused=("2",), refusals={"2": "dpusim: table full"}))
    assert (found.verdict, found.in_hw, found.total) == (Verdict.SOFTWARE, 1, 2)
    assert found.reason == "the driver of eth1 refused the rule: dpusim: table full"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (facts(*LOCAL, without=("1", "2"), hw_offload=False), "hw-offload is off in Open vSwitch"),
        (facts(*LOCAL, refused=("1", "2"), tc_offload={"eth1": False}), "hw-tc-offload is off on eth1"),
        (facts(*LOCAL, without=("1",)), "gave it to its own datapath"),
        (facts(*LOCAL, refused=("1",)), "but takes it now"),
        (
            facts(replace(OUT, recirculates_to=(3,)), BACK, without=("1",), recirculation=False),
            "CONFIG_NET_TC_SKB_EXT is off",
        ),
    ],
)
def test_software_has_its_reason(found: Facts, reason: str) -> None:
    verdict = verdict_of(found)
    assert verdict.verdict is Verdict.SOFTWARE
    assert reason in verdict.reason


def test_the_same_reason_is_said_once_and_different_ones_each() -> None:
    refusals = {"1": "no", "2": "never"}
    assert verdict_of(facts(*LOCAL, without=("1", "2"), hw_offload=False)).reason.count("hw-offload is off") == 1
    both = verdict_of(facts(*LOCAL, refused=("1", "2"), refusals=refusals)).reason
    assert "no; " in both
    assert both.endswith("never")


def test_traffic_of_the_tunnel_is_remote() -> None:
    out = make_flow("1", "eth0", "genev_sys_6081", is_to_tunnel=True)
    back = make_flow("2", "genev_sys_6081", "eth0", is_from_tunnel=True)
    found = facts(out, back)
    assert verdict_of(found, flow_class=FlowClass.POD_POD_REMOTE).total == 2
    assert verdict_of(found).verdict is Verdict.IDLE
    assert verdict_of(found, pod=1, flow_class=FlowClass.POD_POD_REMOTE).verdict is Verdict.IDLE


@pytest.mark.parametrize(
    "flow",
    [
        make_flow("1", "eth0"),
        make_flow("1", "eth0", "eth1", eth_type=0x806),
        make_flow("1", "p0", "br-int"),
        make_flow("1", "eth0", "p0"),
    ],
    ids=["a drop", "ARP", "the underlay", "out of the cluster"],
)
def test_flows_of_no_class_count_for_none(flow: DatapathFlow) -> None:
    assert verdict_of(facts(flow)).verdict is Verdict.IDLE


def test_a_child_counts_only_when_every_parent_is_in_hardware() -> None:
    first, second = (
        make_flow("1", "eth0", recirculates_to=(3,)),
        make_flow("2", "eth0", recirculation=3, recirculates_to=(4,)),
    )
    third = make_flow("3", "eth0", "eth1", recirculation=4)
    assert find_in_hardware(facts(first, second, third)) == {"1", "2", "3"}
    assert find_in_hardware(facts(first, second, third, refused=("1",))) == frozenset()
    assert find_in_hardware(facts(second, third)) == frozenset()
    found = verdict_of(facts(first, second, third, refused=("1",), refusals={"1": "x"}))
    assert (found.verdict, found.reason) == (Verdict.SOFTWARE, "a rule that leads to it is in software")


def test_what_cannot_be_plugged_is_neither_hardware_nor_software() -> None:
    (found, *_) = judge([Located(make_attachment(7), problem="VF c1pf0vf7: has no representor")], facts(*LOCAL))
    assert (found.verdict, found.reason) == (Verdict.UNPLUGGED, "VF c1pf0vf7: has no representor")
