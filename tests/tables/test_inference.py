"""Tests, corrections and effect sizes, by hand; the whole procedure by simulation."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from atlas.draws import rng
from atlas.study import config
from atlas.tables.decidable import SEEDS_TO_DECIDE
from atlas.tables.inference import (
    EXACT,
    POWER,
    effect_size,
    seeds_for,
    sign_flip,
    smallest_difference,
    spread_interval,
    step_down,
    verdict,
)
from atlas.tables.intervals import BySeed
from atlas.tables.level import LEVEL, attainable
from benchmarks.families import FAMILIES, rates

REPOSITORY = Path(__file__).parents[2]


def by_seed(*differences: float | Fraction) -> BySeed:
    """Differences of seeds 0, 1, 2, exactly."""
    return {seed: Fraction(difference) for seed, difference in enumerate(differences)}


def one_by_hand(differences: list[int]) -> float:
    """The share of sign patterns whose mean lies as far from 0."""
    patterns = itertools.product([1, -1], repeat=len(differences))
    sums = [abs(sum(sign * d for sign, d in zip(signs, differences, strict=True))) for signs in patterns]
    return float(np.mean([one >= abs(sum(differences)) for one in sums]))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3], 2 / 8),  # only all signs one way lie as far out
        ([1, 2, -3], 1.0),  # their mean is 0
        ([1, 2, 3, -1], 6 / 16),  # as far as 5: twice 7, and four times 5, where one of the two ones is flipped
        ([0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0.1], 1.0),  # without the zeros one seed is left
        ([0.2], 1.0),
        ([], 1.0),
        ([Fraction(1, 9)] * 3 + [Fraction(0)] * 5, 0.25),  # three seeds are left, and all agree
        ([Fraction(1, 3), Fraction(1, 6), Fraction(-1, 2)], 1.0),  # thirds, sixths and halves cancel
        ([Fraction(1, 3), Fraction(1, 6), Fraction(1, 2), Fraction(1, 7)], 2 / 16),
    ],
)
def test_the_sign_flip_test_by_hand(differences, p):
    assert sign_flip(by_seed(*differences)) == p


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=7), st.sampled_from([1, 3, 90, 2520, 10**40]))
def test_the_sign_flip_test_tries_every_pattern_whatever_the_differences_are_parts_of(differences, parts):
    assert sign_flip(by_seed(*(Fraction(d, parts) for d in differences))) == one_by_hand(differences)


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=7))
def test_the_sign_flip_test_does_not_care_which_arm_comes_first(differences):
    assert sign_flip(by_seed(*differences)) == sign_flip(by_seed(*(-d for d in differences)))


def test_the_smallest_p_value_is_that_of_seeds_that_all_agree_in_a_family_of_any_size():
    for seeds in (2, 4, 8):
        ahead = by_seed(*([1] * seeds))
        assert sign_flip(ahead) == attainable(seeds)
        assert step_down([ahead] * 20) == [attainable(seeds)] * 20


def test_seeds_to_decide():
    assert attainable(SEEDS_TO_DECIDE) < LEVEL <= attainable(SEEDS_TO_DECIDE - 1)
    assert SEEDS_TO_DECIDE == 6


@pytest.mark.parametrize("seeds", [EXACT, 24])
def test_many_seeds_agree_with_students_test_and_are_the_same_each_time(seeds):
    differences = rng("many seeds", seeds).normal(0.5, 1, seeds)
    p = sign_flip(by_seed(*differences))
    assert p == sign_flip(by_seed(*differences))
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)


def test_drawn_patterns_never_give_a_p_of_zero():
    assert 0 < sign_flip(by_seed(*([1] * 40))) < 0.001


# Families


def family_by_hand(family: list[list[int]]) -> list[float]:
    """Algorithm 2.8 of Westfall and Young in plain loops over z^2, in fractions."""

    def far(differences: list[int], signs: tuple[int, ...]) -> Fraction:
        total = sum(sign * d for sign, d in zip(signs, differences, strict=True))
        return Fraction(total**2, sum(d * d for d in differences) or 1)

    seeds = len(family[0])
    patterns = list(itertools.product([1, -1], repeat=seeds))
    seen = [far(differences, (1,) * seeds) for differences in family]
    order = sorted(range(len(family)), key=lambda i: -seen[i])
    adjusted, floor = [0.0] * len(family), 0.0
    for at, i in enumerate(order):
        most = [max(far(family[j], signs) for j in order[at:]) for signs in patterns]
        adjusted[i] = floor = max(floor, float(np.mean([one >= seen[i] for one in most])))
    return adjusted


families = st.integers(2, 6).flatmap(
    lambda seeds: st.lists(st.lists(st.integers(-6, 6), min_size=seeds, max_size=seeds), min_size=1, max_size=4)
)


@given(families)
def test_a_family_by_hand(family):
    assert step_down([by_seed(*differences) for differences in family]) == family_by_hand(family)


@given(families, st.randoms())
def test_a_family_raises_p_and_heeds_neither_order_nor_scale(family, random):
    exact = [by_seed(*differences) for differences in family]
    adjusted = step_down(exact)
    assert all(sign_flip(one) <= p <= 1 for one, p in zip(exact, adjusted, strict=True))
    order = list(range(len(exact)))
    random.shuffle(order)
    scaled = [{seed: d * Fraction(10 ** (i % 3), 7) for seed, d in exact[i].items()} for i in order]
    assert step_down(scaled) == [adjusted[i] for i in order]


def test_a_comparison_that_lacks_seeds_is_tested_on_its_own():
    """Seeds 0 and 1 taught nothing of a domain under one comparison: they are flipped for the other alone."""
    some, all_ = {seed: Fraction(1) for seed in range(2, 8)}, by_seed(*([1] * 8))
    assert sign_flip(some) == attainable(6)
    assert step_down([some]) == [attainable(6)]
    together = step_down([all_, some])
    assert together == [attainable(8), attainable(6)]


def test_differences_that_are_all_0_compete_with_none():
    assert step_down([by_seed(0, 0, 0, 0), by_seed(1, 2, 3, 4)]) == [1.0, 2 / 16]
    assert step_down([]) == []


def test_no_arithmetic_of_floats_decides_a_tie():
    """Ten to the twentieth and one more are two numbers, though no float tells them apart."""
    large = 10**20
    assert sign_flip(by_seed(large, large, -large)) == 1.0  # every pattern gives as much, or three times
    assert sign_flip(by_seed(large + 1, large, -large)) == 6 / 8  # but for those with one less


@pytest.mark.parametrize("family", FAMILIES[:5], ids=lambda family: family.name)
def test_a_family_errs_in_at_most_5_of_100_studies_and_finds_more_than_holm(family):
    """Whichever comparisons differ in truth, and though they share an arm and the luck of a seed."""
    number = 150
    ours, holms = rates(family, number=number)
    assert ours.wrong <= stats.binom.ppf(0.999, number, LEVEL) / number
    if any(family.differ):
        assert ours.found > holms.found


def test_every_comparison_of_the_default_study_can_be_decided_with_its_seeds():
    study = config.load(REPOSITORY / "config.yaml")
    seeds = len(study.all_seeds)
    draws = rng("default study")
    for pairs in study.contrasts.values():
        differences = draws.normal(0.9, 0.05, (len(pairs), seeds))
        assert max(step_down([by_seed(*ones) for ones in differences])) == attainable(seeds) < LEVEL
        assert smallest_difference(seeds, len(pairs)) > 0


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
    """How often a difference of ``size`` standard deviations is found beside others that are none."""
    draws = rng("power check", seeds, family).standard_normal((studies, family, seeds))
    draws[:, 0] += size
    return float(np.mean([step_down([by_seed(*ones) for ones in study])[0] < LEVEL for study in draws]))


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
    assert smallest_difference(8, family=9) > smallest_difference(8, family=2) > smallest_difference(8)
    assert smallest_difference(6) > smallest_difference(8) > smallest_difference(12) > smallest_difference(16)


def test_seeds_for_a_half_width():
    assert seeds_for(0.02, 0.05) == 27  # t(26) = 2.0555: 2.0555 x 0.05 / sqrt(27) = 0.0198; with 26 seeds 0.0202
    assert seeds_for(0.02, 0.0) == 2
    assert seeds_for(0.01, 0.05) > 4 * seeds_for(0.02, 0.05) - 12


def test_the_interval_of_a_standard_deviation():
    low, high = spread_interval(0.1, 8)  # chi-square with 7 degrees of freedom: 1.690 and 16.013
    assert (low, high) == pytest.approx((0.1 * np.sqrt(7 / 16.013), 0.1 * np.sqrt(7 / 1.690)), rel=1e-3)
    assert np.isnan(spread_interval(0.1, 1)).all()
