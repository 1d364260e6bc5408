"""Files dealt out to machines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.lab.several import deal

files = st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0, 300), max_size=12)


@given(files, st.integers(1, 4))
def test_every_file_is_dealt_to_one_machine(seconds: dict[str, float], machines: int) -> None:
    hands = deal(list(seconds), seconds, machines=machines)
    assert sorted(file for hand in hands for file in hand) == sorted(seconds)
    assert len(hands) <= machines


def test_the_machines_take_about_as_long_as_one_another() -> None:
    seconds = {"a": 200.0, "b": 120.0, "c": 90.0, "d": 80.0, "e": 10.0}
    totals = [sum(seconds[file] for file in hand) for hand in deal(list(seconds), seconds, machines=2)]
    assert max(totals) - min(totals) <= 90
