"""The hierarchical bootstrap: exact where it can be, against a plain loop, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from atlas.draws import rng
from atlas.tables.bootstrap import DRAWS, Sample, estimate, seed_interval, seed_weights

YES_NO = np.array([0.0, 1.0])


def sample(right: list[int], facts: int) -> Sample:
    """Seeds that have so many of their facts right."""
    hits = np.array(right)
    return Sample(np.stack([facts - hits, hits], axis=1), YES_NO)


def ends(of: Sample, minus: Sample | None = None) -> tuple[float, float]:
    result = estimate(of, minus)
    assert result is not None
    return result.ci_low, result.ci_high


@pytest.mark.parametrize(("right", "value"), [(0, 0.0), (10, 1.0)])
def test_where_nothing_varies_the_interval_is_the_value(right, value):
    assert ends(sample([right] * 4, 10)) == (value, value)


def test_two_seeds_of_one_fact_reach_from_none_to_all():
    assert ends(sample([0, 1], 1)) == (0.0, 1.0)  # both draws give the same seed half of the time


def test_one_seed_has_the_binomial_interval_of_its_facts():
    low, high = ends(sample([30], 100))
    expected = stats.binom.ppf([0.025, 0.975], 100, 0.3) / 100
    assert [low, high] == pytest.approx(expected, abs=0.01)


def test_many_draws_agree_with_a_plain_loop_over_seeds_and_facts():
    tallies = np.array([[5, 3, 2], [1, 4, 5], [3, 3, 4]])
    levels = np.array([0.0, 1 / 3, 1.0])
    facts = [np.repeat(levels, tally) for tally in tallies]
    draws = rng("plain loop")
    plain = [
        np.mean([draws.choice(facts[seed], len(facts[seed])).mean() for seed in draws.integers(0, 3, 3)])
        for _ in range(4000)
    ]
    low, high = ends(Sample(tallies, levels))
    assert [low, high] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.02)


def test_the_interval_of_a_difference_uses_the_same_seeds_on_both_sides():
    certain = sample([0, 10], 10), sample([0, 10], 10)  # seeds differ wildly, the two sides of a seed never
    assert ends(*certain) == (0.0, 0.0)


def test_all_arms_draw_the_same_seeds():
    weights = seed_weights(4)
    assert weights.shape == (DRAWS, 4)
    assert (weights.sum(axis=1) == 4).all()
    seed_weights.cache_clear()
    assert (seed_weights(4) == weights).all()


def test_the_same_data_give_the_same_interval():
    assert ends(sample([3, 5, 8], 10)) == ends(sample([3, 5, 8], 10))


def test_a_seed_without_facts_is_left_out():
    tallies = np.array([[0, 0], [5, 5]])
    result = estimate(Sample(tallies, YES_NO))
    assert result is not None
    assert (result.n_seeds, result.n_facts, result.n_tests, result.value) == (1, 10, 10, 0.5)


def test_no_facts_at_all_give_no_estimate():
    assert estimate(Sample(np.zeros((2, 2), np.int64), YES_NO)) is None
    assert estimate(sample([1], 2), minus=Sample(np.zeros((1, 2), np.int64), YES_NO)) is None


def test_one_figure_a_seed_needs_two_seeds_for_an_interval():
    assert np.isnan(seed_interval(np.array([0.2]))).all()
    assert seed_interval(np.array([0.2, 0.2, 0.2])) == pytest.approx((0.2, 0.2))
    low, high = seed_interval(np.array([0.0, 1.0]))
    assert (low, high) == (0.0, 1.0)


@pytest.mark.parametrize(("between", "lowest"), [(0.0, 0.95), (0.05, 0.93), (0.15, 0.86)])
def test_the_interval_holds_the_truth_as_often_as_it_should(between, lowest):
    """Eight seeds of 60 facts. Where only facts vary, the interval is wide, as both levels are drawn; where seeds
    vary most, it is short, as percentile intervals of eight values are (about 0.89)."""
    draws, truth, trials = rng("coverage", str(between)), 0.5, 400
    held = 0
    for _ in range(trials):
        chance = np.clip(truth + between * draws.standard_normal(8), 0, 1)
        low, high = ends(sample([int(draws.binomial(60, p)) for p in chance], 60))
        held += low <= truth <= high
    error = 3 * np.sqrt(0.05 * 0.95 / trials)  # three standard errors of the simulation
    assert held / trials > lowest - error
