"""Which facts are measured after a session, and what is known of the others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.ttt.course import on_schedule
from atlas.ttt.engine.lines import ItemTable
from atlas.ttt.session import Estimates
from tests.ttt.made_sessions import CPU, taught


def test_the_schedule_has_four_sessions_an_octave():
    chosen = [session for session in range(1, 130) if on_schedule(session)]
    assert chosen == [*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128]
    facts = [sum(session for session in range(1, last + 1) if on_schedule(session)) / last for last in (100, 500, 5000)]
    assert max(facts) < 8  # facts measured a session, for each one taught, do not grow


def nothing(lanes: int, items: int) -> Estimates:
    return Estimates.none(ItemTable.of([taught(lane, items, "code") for lane in range(lanes)], CPU))


def mask(known: int, *trained: list[int] | np.ndarray) -> torch.Tensor:
    """Which of the known items each lane has trained."""
    found = torch.zeros(len(trained), known, dtype=torch.bool)
    for lane, some in zip(found, trained, strict=True):
        lane[some] = True
    return found


def measured(estimates: Estimates, trained: torch.Tensor, budget: int | None, spare: int = 0) -> list[list[int]]:
    """What each lane is to measure, if so many more might have been trained."""
    items, keep = estimates.to_measure(trained, int(trained.sum(1).max()) + spare, budget)
    assert (keep.sum(1) == keep[0].sum()).all()
    found = [lane[which].tolist() for lane, which in zip(items, keep, strict=True)]
    assert [lane[: len(some)].tolist() for lane, some in zip(items, found, strict=True)] == found
    return found


@pytest.mark.parametrize("spare", [0, 2])
def test_half_the_budget_goes_to_the_weakest_and_half_to_the_longest_unseen(spare):
    losses = torch.tensor([[5.0, 1, 9, 2, 7, 3, 8, 4, 0, 0]])
    ticks = torch.tensor([[3, 1, 9, 2, 4, 9, 9, 9, 0, 0]])
    found = measured(Estimates(losses, ticks), mask(10, [5, 8, 9]), budget=4, spare=spare)
    # 2 and 6 seem weakest, 1 and 3 were seen longest ago
    assert found == [[5, 8, 9, 2, 6, 1, 3]]


def test_without_a_budget_all_are_measured():
    found = measured(nothing(2, 12), mask(9, [1], [7, 8]), None)
    assert [sorted(lane) for lane in found] == [[*range(9)]] * 2
    assert [lane[0] for lane in found] == [1, 7]


def test_what_was_measured_is_noted():
    estimates = nothing(2, 4)
    everything = torch.ones(2, 2, dtype=torch.bool)
    estimates.note(torch.tensor([[3, 1], [0, 2]]), torch.tensor([[0.3, 0.1], [1.0, 1.2]]), everything)
    inf = np.inf
    np.testing.assert_allclose(estimates.losses, [[inf, 0.1, inf, 0.3], [1.0, inf, 1.2, inf]], rtol=1e-6)
    estimates.note(torch.tensor([[0], [0]]), torch.tensor([[0.2], [9.0]]), torch.tensor([[True], [False]]))
    assert estimates.measured.tolist() == [[2, 1, 0, 1], [1, 0, 1, 0]]
    assert estimates.losses[:, 0].tolist() == pytest.approx([0.2, 1.0])


@given(st.integers(1, 60), st.lists(st.integers(0, 12), min_size=3, max_size=3), st.integers(0, 30))
@settings(max_examples=80)
def test_the_number_is_bounded_and_nothing_is_measured_twice(known, sizes, budget):
    draw = np.random.default_rng([known, *sizes, budget])
    parts = draw.random((3, 70)).astype(np.float32), draw.integers(0, 9, (3, 70))
    trained = [np.sort(draw.permutation(known)[:size]) for size in sizes]
    asked = measured(Estimates(*map(torch.from_numpy, parts)), mask(known, *trained), budget)
    assert {*map(len, asked)} == {min(known, max(map(len, trained)) + budget)}
    for lane, pick in zip(asked, trained, strict=True):
        assert len(set(lane)) == len(lane)
        assert lane[: len(pick)] == pick.tolist()
        assert max(lane, default=0) < known


@pytest.mark.parametrize("budget", [2, 8])
def test_every_fact_is_looked_at_again_within_its_turn(budget):
    """Half the budget rotates, so no fact of n waits for more than n / (budget / 2) sessions, whatever its loss."""
    facts, longest = 24, 0
    estimates = Estimates(torch.linspace(1, 9, facts)[None], torch.ones(1, facts, dtype=torch.int64))
    for session in range(2, 60):
        asked, keep = estimates.to_measure(mask(facts, []), 0, budget)
        estimates.note(asked, estimates.losses.gather(1, asked), keep)
        longest = max(longest, session - int(estimates.measured.min()))
    assert longest <= facts / (budget / 2) + 1
