"""What is counted, under which names, with which labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from cni.daemon.calls import Finished
from cni.daemon.leftover import Leftover, Settled
from cni.daemon.metrics import Metrics
from sriov.errors import BusyError


def make() -> Metrics:
    return Metrics(CollectorRegistry(), {"calls_waiting": ("Calls that wait.", lambda: 7)})


def test_calls_are_counted_by_verb_and_code_and_their_phases_timed() -> None:
    metrics = make()
    metrics.count_call(Finished("ADD", 0, 0.5, {"lock": 0.1, "move": 0.4}, 0))
    metrics.count_call(Finished("ADD", 11, 2.0, {"lock": 2.0}, 1))
    value = metrics.registry.get_sample_value
    assert value("dpukit_node_calls_total", {"verb": "ADD", "code": "0"}) == 1
    assert value("dpukit_node_calls_total", {"verb": "ADD", "code": "11"}) == 1
    assert value("dpukit_node_call_seconds_sum", {"verb": "ADD"}) == 2.5
    assert value("dpukit_node_phase_seconds_count", {"verb": "ADD", "phase": "lock"}) == 2
    assert value("dpukit_node_restored_vfs_total", {"by": "ADD"}) == 1


def test_a_callers_text_never_becomes_a_label() -> None:
    metrics = make()
    for verb in ("", "add", 'X"}', "\udcff"):
        metrics.count_call(Finished(verb, 4, 0.1, {}, 0))
    assert metrics.registry.get_sample_value("dpukit_node_calls_total", {"verb": "other", "code": "4"}) == 4


def test_leftovers_are_counted_by_why_and_what_came_of_it() -> None:
    metrics = make()
    metrics.count_leftover(Settled(Leftover.IN_NO_POD, None, 1))
    metrics.count_leftover(Settled(Leftover.ADDRESSES, BusyError("x", "y"), 0))
    value = metrics.registry.get_sample_value
    assert value("dpukit_node_leftovers_total", {"why": "in-no-pod", "outcome": "undone"}) == 1
    assert value("dpukit_node_leftovers_total", {"why": "addresses", "outcome": "failed"}) == 1
    assert value("dpukit_node_restored_vfs_total", {"by": "reconciler"}) == 1


def test_counters_are_there_before_their_first_event_and_gauges_ask_when_looked_at() -> None:
    text = generate_latest(make().registry).decode()
    assert 'dpukit_node_calls_total{code="0",verb="DEL"} 0.0' in text
    assert "dpukit_node_calls_waiting 7.0" in text
