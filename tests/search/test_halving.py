"""Who goes on in the search, and what closes it."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.search.halving import neighbours, ranked, untried

GRID = [0.0013, 0.002, 0.003, 0.0045, 0.0068]


def trials(*rows, facts=300, seeds=(901, 902, 903)):
    """Trials of candidates: settings, rate (None without a grid), facts recalled by each seed, sessions, tokens."""
    made = []
    for settings, lr, recalled, sessions, characters in rows:
        below, above = neighbours(GRID, lr) if lr else (None, None)
        made += [
            {"settings": settings, "lr": lr, "lr_below": below, "lr_above": above, "seed": seed}
            | {"candidate": f"{settings}_{lr:g}" if lr else settings, "sessions": sessions, "n_facts": facts}
            | {"recall": hits / facts, "characters": characters}
            for seed, hits in zip(seeds, recalled, strict=True)
        ]
    return pd.DataFrame(made)


def test_candidates_are_ranked_by_recall_whatever_they_cost():
    found = ranked(
        trials(
            ("cheap", None, [100, 100, 100], 30, 10),
            ("dear", None, [101, 100, 100], 30, 1000),
            ("poor", None, [299, 0, 0], 30, 1),  # the best of all on one seed
            facts=300,
        )
    )
    assert [*found.index] == ["dear", "cheap", "poor"]


def test_equal_recall_is_equal_however_it_is_rounded_and_cost_decides_then_the_name():
    found = ranked(
        trials(
            ("b", None, [269, 240, 210], 30, 20),  # the means differ as floats
            ("c", None, [240, 239, 240], 30, 10),
            ("a", None, [241, 240, 238], 30, 20),
        )
    )
    assert [*found.index] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("rate", "beside"),
    [
        (0.003, (0.002, 0.0045)),
        (0.0013, (0.000845, 0.002)),
        (0.0068, (0.0045, 0.0103)),
        (0.0103, (0.0068, 0.0156)),
        (0.000845, (0.000549, 0.0013)),
    ],
)
def test_a_grid_goes_on_beyond_its_ends_by_its_own_factors(rate, beside):
    assert neighbours(GRID, rate) == beside


@given(st.floats(1e-6, 0.1), st.lists(st.floats(1.05, 5), min_size=2, max_size=5), st.integers(1, 8), st.booleans())
def test_neighbours_of_neighbours_are_the_rate_itself(first, factors, far, up):
    grid = [first]
    for factor in factors:
        grid.append(grid[-1] * factor)
    rate = grid[-1] if up else grid[0]
    for _ in range(far):  # outwards
        below, above = neighbours(grid, rate)
        assert below < rate < above
        outer = above if up else below
        assert neighbours(grid, outer)[0 if up else 1] == rate
        rate = outer


def test_a_closing_round_tries_what_was_not_tried_as_long_beside_the_best():
    early = [("a", lr, [90, 90, 90], 30, 1) for lr in GRID]
    late = [("a", 0.003, [280] * 3, 100, 1), ("a", 0.0045, [281] * 3, 100, 1), ("a", 0.002, [100] * 3, 100, 1)]
    assert untried(trials(*early, *late)) == [("a", 0.0068)]
    late.append(("a", 0.0068, [290] * 3, 100, 1))  # now the best is at the edge of the grid
    assert untried(trials(*early, *late)) == [("a", 0.0103)]
    late.append(("a", 0.0103, [290, 290, 289], 100, 1))
    assert untried(trials(*early, *late)) == []


def test_rates_of_other_settings_close_nothing_and_settings_without_a_grid_have_nothing_to_close():
    late = [("a", 0.002, [9] * 3, 100, 1), ("a", 0.0045, [9] * 3, 100, 1), ("b", 0.003, [10] * 3, 100, 1)]
    assert untried(trials(*late)) == [("b", 0.002), ("b", 0.0045)]
    assert untried(trials(*late, ("c", None, [11] * 3, 100, 1))) == []


def test_no_rate_of_one_or_more_is_tried():
    rows = trials(("a", 0.003, [9] * 3, 100, 1)).assign(lr_above=1.0)
    assert untried(rows) == [("a", 0.002)]
