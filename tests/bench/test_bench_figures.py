"""Percentiles, spreads and ratios."""

from __future__ import annotations

import pytest

from bench.cases import BURST, UNARY
from bench.figures import Spread, percentile, ratios, spread
from bench.goals import GOALS, Goal
from bench.load import Loaded
from bench.peers import Measured
from bench.results import Results
from bench.rounds import Rounds, fill


def test_percentile_is_a_measured_value() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1, 3, 5, 5]
    assert percentile(range(1, 101), 99) == 99
    assert percentile([7.0], 50) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_ratios_are_of_rounds_not_of_medians() -> None:
    assert ratios([2, 30, 4], [1, 10, 4]) == Spread(2, 1, 3)
    assert spread([3, 1, 2]) == Spread(2, 1, 3)
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


def test_rounds_divide_by_calls_and_chunks() -> None:
    measured = Measured(cpu=0.5, loaded=Loaded(2.0, [0.01] * 50, [0.001] * 50, 0.1))
    unary, burst = Rounds(), Rounds()
    unary.add(UNARY, measured)
    burst.add(BURST, measured)
    assert unary.cpu == [10_000]
    assert burst.cpu == [100]
    assert (unary.p50, unary.first, unary.rate) == ([10], [1], [25])


def test_rounds_are_filled_with_whole_turns() -> None:
    assert fill(UNARY, rate=1000, seconds=1) == 992
    assert fill(UNARY, rate=1, seconds=1) == 32
    assert fill(BURST, rate=1, seconds=1) == 16


def test_results_come_back_from_json(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("figures") / "figures.json"
    results = Results(
        cases={
            "alone": {
                "marsys": Rounds(cpu=[500.0], p50=[0.61]),
                "upstream": Rounds(cpu=[5.0], p50=[0.01]),
            }
        },
        startup={"marsys": {"ready": [0.4], "rss": [95.0]}},
    )
    results.write(file)
    again = Results.read(file)
    assert again == results
    assert again.ratio("alone", "marsys", "upstream") == Spread(100, 100, 100)
    assert again.ratio("alone", "marsys", "litellm") is None
    held = {
        goal.title: goal.holds(found)
        for goal in GOALS
        if (found := goal.measure(again)) is not None
    }
    assert held == {
        "added p50, one call at a time": True,
        "start until the first answer": True,
        "idle memory": False,
    }


def test_goals_have_one_bound() -> None:
    assert all((goal.least is None) != (goal.most is None) for goal in GOALS)
    least = Goal("", lambda results: None, least=2)
    assert [least.holds(Spread(median, 0, 9)) for median in (1.9, 2)] == [False, True]
