"""Which facts are measured after a session, and what is known of the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.ttt.course import on_schedule
from atlas.ttt.session import Estimates


def test_the_schedule_has_four_sessions_an_octave():
    chosen = [session for session in range(1, 130) if on_schedule(session)]
    assert chosen == [*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128]
    facts = [sum(session for session in range(1, last + 1) if on_schedule(session)) / last for last in (100, 500, 5000)]
    assert max(facts) < 8  # facts measured a session, for each one taught, do not grow


def test_half_the_budget_goes_to_the_weakest_and_half_to_the_longest_unseen():
    losses = np.array([[5.0, 1, 9, 2, 7, 3, 8, 4, 0, 0]], np.float32)
    measured = np.array([[3, 1, 9, 2, 4, 9, 9, 9, 0, 0]])
    estimates = Estimates(losses, measured)
    asked = estimates.to_measure(known=10, trained=[np.array([5, 8, 9])], budget=4)
    # 2 and 6 seem weakest, 1 and 3 were seen longest ago
    assert asked.tolist() == [[5, 8, 9, 2, 6, 1, 3]]


def test_without_a_budget_all_are_measured():
    asked = Estimates.none(2, 12).to_measure(9, [np.array([1]), np.array([7, 8])], None)
    assert [sorted(lane) for lane in asked.tolist()] == [list(range(9))] * 2
    assert [lane[0] for lane in asked.tolist()] == [1, 7]


def test_what_was_measured_is_noted():
    estimates = Estimates.none(2, 4)
    estimates.note(0, np.array([3, 1]), np.array([0.3, 0.1], np.float32))
    estimates.note(1, np.array([0, 2]), np.array([1.0, 1.2], np.float32))
    inf = np.inf
    np.testing.assert_allclose(estimates.losses, [[inf, 0.1, inf, 0.3], [1.0, inf, 1.2, inf]], rtol=1e-6)
    estimates.note(0, np.array([0]), np.array([0.2], np.float32))
    assert estimates.measured.tolist() == [[2, 1, 0, 1], [1, 0, 1, 0]]


@given(st.integers(1, 60), st.lists(st.integers(0, 12), min_size=3, max_size=3), st.integers(0, 30))
@settings(max_examples=80)
def test_the_number_is_bounded_and_nothing_is_measured_twice(known, sizes, budget):
    draw = np.random.default_rng([known, *sizes, budget])
    estimates = Estimates(draw.random((3, 70)).astype(np.float32), draw.integers(0, 9, (3, 70)))
    trained = [np.sort(draw.permutation(known)[:size]) for size in sizes]
    asked = estimates.to_measure(known, trained, budget)
    assert asked.shape == (3, min(known, max(map(len, trained)) + budget))
    for lane, pick in zip(asked.tolist(), trained, strict=True):
        assert len(set(lane)) == len(lane)
        assert set(pick) <= set(lane)
        assert max(lane, default=0) < known


@pytest.mark.parametrize("budget", [2, 8])
def test_every_fact_is_looked_at_again_within_its_turn(budget):
    """Half the budget rotates, so no fact of n waits for more than n / (budget / 2) sessions, whatever its loss."""
    facts, estimates, longest = 24, Estimates.none(1, 24), 0
    estimates.note(0, np.arange(facts), np.linspace(1, 9, facts, dtype=np.float32))
    for session in range(2, 60):
        asked = estimates.to_measure(facts, [np.arange(0)], budget)
        estimates.note(0, asked[0], estimates.losses[0, asked[0]])
        longest = max(longest, session - int(estimates.measured.min()))
    assert longest <= facts / (budget / 2) + 1
