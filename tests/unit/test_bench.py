"""The benchmark's arithmetic: turns in fair order, ratios turn by turn, percentiles by nearest rank, bounds told as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.call import Cost
from tests.bench.paired import Bound, Comparison, Refusal, Side, compare, percentile, report

SECONDS = st.floats(min_value=1e-6, max_value=1e3)


@given(st.lists(SECONDS, min_size=1), st.floats(min_value=1, max_value=100))
def test_a_percentile_is_one_of_the_values_and_enough_do_not_exceed_it(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


def test_the_99th_of_few_is_the_worst() -> None:
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0


def test_every_side_goes_first_equally_often_and_warm_up_is_not_counted() -> None:
    order: list[str] = []

    def side(name: str) -> Side:
        def turn() -> dict[str, Cost | Refusal]:
            order.append(name)
            return {"ADD": Cost(1, 1)}

        return Side(name, turn)

    found = compare([side("a"), side("b"), side("c")], turns=6, warm_up=3)
    assert [len(series) for series in found.costs["ADD"].values()] == [6, 6, 6]
    assert sorted(order[9::3]) == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize(("bound", "verdict"), [(0.5, "held"), (0.49, "MISSED")])
def test_a_ratio_is_the_median_of_the_turns_own_and_a_missed_bound_is_told(bound: float, verdict: str) -> None:
    ours = [Cost(1, 3), Cost(2, 3), Cost(8, 3)]
    theirs = [Cost(2, 2), Cost(4, 2), Cost(1, 2)]
    found = Comparison(["a", "b"], {"ADD": {"a": ours, "b": theirs}}, {"ADD": {"c": "code 4: no"}})
    assert found.ratios("ADD", "a", "b") == [0.5, 0.5, 8]
    assert found.cpu_ratio("ADD", "a", "b") == 1.5
    text = report("here", "ADD", found, [Bound("a", "b", bound), Bound("a", "absent", 0.7)])
    assert f"bound {bound:.2f}: {verdict}" in text
    assert "absent" not in text


def test_what_a_side_does_not_offer_is_told_in_its_own_words() -> None:
    found = compare([Side("a", lambda: {"CHECK": Refusal("code 4: unknown")})], turns=2)
    assert report("here", "CHECK", found, []).splitlines() == [
        "CHECK, here (0 turns)",
        "  a                              does not offer it: code 4: unknown",
    ]
