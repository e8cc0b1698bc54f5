"""The metrics of the literature, worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.tables import editing
from atlas.ttt import growth

NEW, OLD = np.array([0.9, 0.2, 0.5, 0.3]), np.array([0.05, 0.6, 0.5, 0.1])
shares = st.floats(0.01, 1)


def test_success_counts_prompts_after_which_the_new_answer_is_likelier_ties_do_not():
    assert editing.success(NEW, OLD) == 0.5
    assert editing.success(np.log(NEW), np.log(OLD)) == 0.5
    assert editing.neighbourhood_success(NEW, OLD) == 0.25
    assert editing.magnitude(NEW, OLD) == pytest.approx((0.85 - 0.4 + 0 + 0.2) / 4)


def test_ranked_against_the_old_answer_alone_is_the_success_of_counterfact():
    ranked = [new > max([old]) for new, old in zip(NEW, OLD, strict=True)]
    assert editing.share(np.array(ranked)) == editing.success(NEW, OLD)


def test_a_fact_is_unharmed_where_its_answer_is_about_as_likely_as_before():
    base, now = np.array([2.0, 2.0, 2.0, 2.0]), np.array([1.0, 2.0, 2.05, 3.0])
    assert editing.unharmed(now, base) == 0.75
    assert editing.unharmed(now, base, tolerance=0) == 0.5
    assert editing.unharmed(base, base) == 1.0


def test_only_what_the_base_recalled_can_be_recalled_still():
    assert editing.still_recalled(np.array([True, False, True]), np.array([True, True, False])) == 0.5
    assert math.isnan(editing.still_recalled(np.array([True]), np.array([False])))


def test_the_score_is_the_harmonic_mean_and_one_zero_ruins_it():
    assert editing.EditScores(1.0, 0.5, 0.25).score == pytest.approx(3 / 7)
    assert editing.EditScores(1.0, 0.0, 1.0).score == 0.0
    assert math.isnan(editing.EditScores(1.0, float("nan"), 0.0).score)
    assert math.isnan(editing.share(np.array([])))


@given(shares, shares, shares)
def test_the_score_is_between_the_worst_share_and_the_plain_mean(efficacy, paraphrase, specificity):
    scores = editing.EditScores(efficacy, paraphrase, specificity)
    assert min(scores) - 1e-12 <= scores.score <= np.mean(scores) + 1e-12
    assert editing.EditScores(specificity, efficacy, paraphrase).score == pytest.approx(scores.score)


def test_size_and_growth_of_an_update():
    base = np.array([[3.0, 0.0], [0.0, 4.0]])
    updates = np.stack([base, -base, np.array([[0.0, 12.0], [0.0, 0.0]])])
    np.testing.assert_allclose(growth.update_size(base, updates), [1.0, 1.0, 2.4])
    np.testing.assert_allclose(growth.norm_growth(base, updates), [1.0, -1.0, 1.6])
