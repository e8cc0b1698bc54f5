"""Draws: the same key gives the same numbers everywhere, other keys give others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.draws import rng

KEYS = st.lists(st.integers(-5, 5) | st.text("ab:", max_size=3), min_size=1, max_size=3)


def test_a_key_gives_these_numbers_on_every_machine():
    assert rng(0, 1, "stream").integers(0, 1000, 4).tolist() == [941, 487, 64, 506]


@given(KEYS)
def test_the_same_key_repeats(key):
    assert rng(*key).integers(2**62) == rng(*key).integers(2**62)


@given(KEYS, KEYS)
def test_other_keys_draw_other_numbers(one, other):
    if [(type(part), part) for part in one] != [(type(part), part) for part in other]:
        assert rng(*one).integers(2**62) != rng(*other).integers(2**62)


def test_a_number_and_its_text_are_different_keys():
    assert rng(1).integers(2**62) != rng("1").integers(2**62)


def test_neighbouring_seeds_are_unrelated():
    draws = np.array([rng(0, seed, "x").standard_normal(200) for seed in range(20)])
    between = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(between).max() < 0.3  # 4 standard errors of a correlation of 200 pairs
