"""Verdicts read from a real switch. Without offload on this kernel they are all software: hardware is the lab's part."""

from __future__ import annotations

import json

import pytest

from tests.netns.offload.conftest import Dpu

pytestmark = pytest.mark.netns


def test_status_shows_one_line_per_pod_and_class(dpu: Dpu) -> None:
    assert dpu.pods[0].ping(dpu.pods[1])
    code, said = dpu.call("dpukit", "offload", "status")
    lines = said.splitlines()
    assert code == 0
    assert lines[0].split() == ["ATTACHMENT", "REPRESENTOR", "CLASS", "VERDICT", "IN_HW", "REASON"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["default/pod1-0", "rep0", "pod-pod-local", "software"],
        ["default/pod1-0", "rep0", "pod-pod-remote", "idle"],
        ["default/pod1-1", "rep1", "pod-pod-local", "software"],
        ["default/pod1-1", "rep1", "pod-pod-remote", "idle"],
    ]
    assert "hw-offload is off in Open vSwitch" in lines[1]


def test_a_pod_that_is_not_plugged_is_told_with_the_reason(dpu: Dpu) -> None:
    assert dpu.stop_agent() == 0
    dpu.switch.vsctl("del-port", "br-int", "rep1")
    code, said = dpu.call("dpukit", "offload", "status", "-o", "json")
    assert code == 0
    found = [one for one in json.loads(said) if one["pod"] == "default/pod1-1"]
    assert {one["verdict"] for one in found} == {"unplugged"}
    assert found[0]["reason"] == "its representor rep1 is not in bridge br-int"


def test_with_offload_on_but_no_such_kernel_the_reason_is_another(dpu: Dpu) -> None:
    assert dpu.pods[0].ping(dpu.pods[1])
    dpu.switch.vsctl("set", "open_vswitch", ".", "other_config:hw-offload=true")
    _, said = dpu.call("dpukit", "offload", "status", "-o", "json")
    local = [one for one in json.loads(said) if one["class"] == "pod-pod-local"]
    assert {one["verdict"] for one in local} == {"software"}
    assert all("hw-tc-offload is off on rep" in one["reason"] for one in local), local
