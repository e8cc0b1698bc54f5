"""The metrics of the literature, worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.tables.baselines import harmonic_mean, still_likely
from atlas.ttt.records import norm_growth, update_size

shares = st.floats(0.01, 1)


def test_a_fact_is_unharmed_where_its_answer_is_about_as_likely_as_before():
    base, now = pd.Series([2.0, 2.0, 2.0, 2.0]), pd.Series([1.0, 2.0, 2.05, 3.0])
    assert still_likely(now, base).tolist() == [True, True, True, False]


def test_the_score_is_the_harmonic_mean_and_one_zero_ruins_it():
    assert harmonic_mean(np.array([1.0, 0.5, 0.25])) == pytest.approx(3 / 7)
    assert harmonic_mean(np.array([1.0, 0.0, 1.0])) == 0.0
    assert math.isnan(harmonic_mean(np.array([1.0, float("nan"), 0.0])))


@given(shares, shares, shares)
def test_the_score_is_between_the_worst_share_and_the_plain_mean(efficacy, paraphrase, specificity):
    scores = np.array([efficacy, paraphrase, specificity])
    assert scores.min() - 1e-12 <= harmonic_mean(scores) <= scores.mean() + 1e-12
    assert harmonic_mean(scores[[2, 0, 1]]) == pytest.approx(harmonic_mean(scores))


def test_size_and_growth_of_an_update():
    base = np.array([[3.0, 0.0], [0.0, 4.0]])
    updates = np.stack([base, -base, np.array([[0.0, 12.0], [0.0, 0.0]])])
    np.testing.assert_allclose(update_size(base, updates), [1.0, 1.0, 2.4])
    np.testing.assert_allclose(norm_growth(base, updates), [1.0, -1.0, 1.6])
