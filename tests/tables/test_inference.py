"""Tests, corrections and effect sizes, by hand; the whole procedure by simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from atlas.draws import rng
from atlas.tables.inference import (
    LEVEL,
    POWER,
    attainable,
    effect_size,
    holm,
    seeds_for,
    seeds_to_decide,
    sign_flip,
    smallest_difference,
    spread_interval,
    verdict,
)


def by_hand(differences: list[float]) -> float:
    """The share of sign patterns whose mean lies as far from 0."""
    patterns = itertools.product([1, -1], repeat=len(differences))
    means = [abs(np.dot(signs, differences)) for signs in patterns]
    return float(np.mean([mean >= abs(sum(differences)) - 1e-12 for mean in means]))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3], 2 / 8),  # only all signs one way lie as far out
        ([1, 2, -3], 1.0),  # their mean is 0
        ([1, 2, 3, -1], 6 / 16),  # as far as 5: twice 7, and four times 5, where one of the two ones is flipped
        ([0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0.1], 1.0),  # without the zeros one seed is left
        ([0.2], 1.0),
    ],
)
def test_the_sign_flip_test_by_hand(differences, p):
    assert sign_flip(np.array(differences, float)) == pytest.approx(p)


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=7))
def test_the_sign_flip_test_tries_every_pattern(differences):
    assert sign_flip(np.array(differences) / 90) == pytest.approx(by_hand(differences))


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=7))
def test_the_sign_flip_test_does_not_care_which_arm_comes_first(differences):
    values = np.array(differences, float)
    assert sign_flip(values) == pytest.approx(sign_flip(-values))


def test_the_smallest_p_value_is_that_of_seeds_that_all_agree():
    for seeds in (2, 4, 8):
        assert sign_flip(np.arange(1.0, seeds + 1)) == pytest.approx(attainable(seeds))
    assert attainable(8, family=6) == pytest.approx(6 * 2 / 256)
    assert attainable(3, family=6) == 1.0


@pytest.mark.parametrize(("family", "seeds"), [(1, 6), (2, 7), (6, 8), (7, 9)])
def test_the_seeds_that_a_verdict_takes(family, seeds):
    assert seeds_to_decide(family) == seeds
    assert family * 2 / 2**seeds < LEVEL <= family * 2 / 2 ** (seeds - 1)


def test_many_seeds_are_drawn_and_the_same_each_time():
    differences = rng("many seeds").normal(0.5, 1, 24)
    p = sign_flip(differences)
    assert p == sign_flip(differences)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 no less
        ([0.2], [0.2]),
        ([0.5, 0.6, 0.7], [1, 1, 1]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_raises_keeps_the_order_and_lies_below_bonferroni(p_values, random):
    adjusted = holm(p_values)
    for p, raised in zip(p_values, adjusted, strict=True):
        assert p <= raised <= min(1, p * len(p_values)) + 1e-12
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert holm([p_values[i] for i in order]) == pytest.approx([adjusted[i] for i in order])


def test_the_effect_is_in_standard_deviations_with_hedges_correction():
    differences = np.array([0.1, 0.2, 0.3, 0.2])  # mean 0.2, standard deviation 0.0816
    assert effect_size(differences) == pytest.approx(0.2 / 0.081650 * (1 - 3 / (4 * 3 - 1)), abs=1e-4)
    assert effect_size(-differences) == -effect_size(differences)
    assert np.isnan(effect_size(np.array([0.1, 0.1])))
    assert np.isnan(effect_size(np.array([0.1])))


@pytest.mark.parametrize(
    ("diff", "ends", "p_adjusted", "best", "decided", "because"),
    [
        (0.1, (0.02, 0.2), 0.04, 0.01, "a > b", ""),
        (-0.1, (-0.2, -0.02), 0.04, 0.01, "b > a", ""),
        (0.1, (0.02, 0.2), 0.05, 0.01, "unresolved", "p = 0.05"),
        (0.1, (-0.01, 0.2), 0.04, 0.01, "unresolved", "holds 0"),
        (0.1, (0.0, 0.2), 0.04, 0.01, "unresolved", "holds 0"),
        (0.9, (0.8, 1.0), 0.125, 0.125, "unresolved", "too few seeds"),
    ],
)
def test_the_verdict_needs_both_the_test_and_the_interval(diff, ends, p_adjusted, best, decided, because):
    said, reason = verdict(diff, ends[0], ends[1], p_adjusted, best)
    assert said == decided
    assert because in reason
    assert bool(reason) == (decided == "unresolved")


# What could have been seen


def rejected(seeds: int, family: int, size: float, studies: int = 400) -> float:
    """How often the test itself finds a difference of ``size`` standard deviations at Holm's strictest step."""
    draws = rng("power check", seeds, family).standard_normal((studies, seeds)) + size
    return float(np.mean([sign_flip(differences) < LEVEL / family for differences in draws]))


@pytest.mark.parametrize(("seeds", "family"), [(6, 1), (8, 1), (8, 6)])
def test_the_smallest_difference_is_found_in_four_of_five_studies(seeds, family):
    assert rejected(seeds, family, smallest_difference(seeds, family)) == pytest.approx(POWER, abs=0.07)


@pytest.mark.parametrize("seeds", [11, 24])
def test_beyond_ten_seeds_it_is_that_of_students_test(seeds):
    size = smallest_difference(seeds)
    draws = rng("student", seeds).standard_normal((20_000, seeds)) + size
    found = np.asarray(stats.ttest_1samp(draws, 0, axis=1).pvalue) < LEVEL
    assert found.mean() == pytest.approx(POWER, abs=0.01)


def test_the_two_ways_of_power_meet():
    assert smallest_difference(10) == pytest.approx(smallest_difference(11) * np.sqrt(11 / 10), rel=0.1)


def test_nothing_can_be_seen_where_no_p_value_is_small_enough():
    assert np.isnan(smallest_difference(5))
    assert np.isnan(smallest_difference(7, family=6))
    assert smallest_difference(6) > smallest_difference(8) > smallest_difference(12) > smallest_difference(16)


def test_seeds_for_a_half_width():
    assert seeds_for(0.02, 0.05) == 27  # t(26) = 2.0555: 2.0555 x 0.05 / sqrt(27) = 0.0198; with 26 seeds 0.0202
    assert seeds_for(0.02, 0.0) == 2
    assert seeds_for(0.01, 0.05) > 4 * seeds_for(0.02, 0.05) - 12


def test_the_interval_of_a_standard_deviation():
    low, high = spread_interval(0.1, 8)  # chi-square with 7 degrees of freedom: 1.690 and 16.013
    assert (low, high) == pytest.approx((0.1 * np.sqrt(7 / 16.013), 0.1 * np.sqrt(7 / 1.690)), rel=1e-3)
    assert np.isnan(spread_interval(0.1, 1)).all()
