"""The program ``dpukit-agent``: its exit codes and its words, and what it does when Open vSwitch is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.offload.conftest import Dpu, Underlay, wait_until

pytestmark = pytest.mark.netns


def test_without_database_status_and_check_fail_and_the_agent_waits(underlay: Underlay) -> None:
    dpu = underlay.add_dpu(pods=2)
    dpu.write_state()
    dpu.switch.stop("ovs-vswitchd")
    dpu.switch.stop("ovsdb-server")
    socket = Path(dpu.switch.remote.removeprefix("unix:"))
    socket.unlink(missing_ok=True)
    for words in (("offload.agent", "--check-config"), ("dpukit", "offload", "status")):
        code, said = dpu.call(*words)
        assert code == 1
        assert f"error: {dpu.switch.remote}: the database does not answer: No such file or directory" in said
        assert "start ovsdb-server on this DPU" in said
    dpu.start_agent()
    wait_until(lambda: "the database does not answer" in dpu.agent_log())
    dpu.switch.start_database()
    dpu.switch.start_vswitchd()
    dpu.wait_for_flows(15)
    wait_until(lambda: dpu.pods[0].ping(dpu.pods[1], count=1))


def test_a_good_configuration_is_told_to_be_so(dpu: Dpu) -> None:
    code, said = dpu.call("offload.agent", "--check-config")
    assert code == 0
    assert said == "ok: node host1, 2 attachments, 0 peers; bridge br-int is there\n"


def test_a_broken_state_at_the_start_is_an_input_error(underlay: Underlay) -> None:
    dpu = underlay.add_dpu(pods=1)
    dpu.write_state({**dpu.state(), "node": None, "peers": [{}]})
    code, said = dpu.call("offload.agent")
    assert code == 2
    assert f"error: {dpu.folder}/state.yaml: node: is missing" in said
    assert f"error: {dpu.folder}/state.yaml: peers[0].vtep: is missing" in said


def test_a_wrong_word_in_the_configuration_is_an_input_error(underlay: Underlay) -> None:
    dpu = underlay.add_dpu(pods=1)
    dpu.write_state()
    dpu.write_config(uplinc="p0")
    code, said = dpu.call("offload.agent", "--check-config")
    assert code == 2
    assert f"error: {dpu.folder}/agent.yaml: uplinc: is not a known key (did you mean 'uplink'?)" in said


def test_the_program_tells_its_version(underlay: Underlay) -> None:
    code, said = underlay.add_dpu(pods=0).call("offload.agent", "--version")
    assert (code, "dpukit-agent" in said) == (0, True)
