"""The phases and the deadline of a call, by a clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.pace import Pace
from sriov.errors import BusyError


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_phases_follow_one_another_and_one_that_comes_twice_is_added_up() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    for phase, seconds in (("lock", 0.5), ("record", 1.0), ("lock", 2.0)):
        clock.now += seconds
        pace.lap(phase)
    assert (dict(pace.phases), pace.elapsed_s) == ({"lock": 2.5, "record": 1.0}, 3.5)


def test_a_call_within_its_deadline_goes_on_and_one_beyond_says_where_the_time_went() -> None:
    clock = Clock()
    pace = Pace(deadline_s=10, clock=clock)
    clock.now += 3
    pace.lap("lock")
    pace.check()
    clock.now += 7
    pace.lap("move")
    with pytest.raises(BusyError, match=r"call: is not done after 10 s, most of them in 'move'"):
        pace.check()


def test_a_call_that_is_late_before_its_first_phase_says_so() -> None:
    clock = Clock()
    pace = Pace(deadline_s=1, clock=clock)
    clock.now += 2
    with pytest.raises(BusyError, match="the first phase"):
        pace.check()


@given(st.floats(0.1, 1000), st.floats(0, 2000), st.floats(0, 100))
def test_what_is_left_is_never_negative_nor_more_than_asked_for(deadline_s: float, passed: float, most: float) -> None:
    clock = Clock()
    pace = Pace(deadline_s=deadline_s, clock=clock)
    clock.now += passed
    left = pace.left(at_most=most)
    assert 0 <= left <= most
    assert left <= max(0.0, deadline_s - passed) + 1e-6
