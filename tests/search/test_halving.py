"""Who goes on in the search."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from atlas.search.halving import fronts, survivors


def test_fronts_are_peeled_off():
    gain = np.array([0.9, 0.9, 0.5, 0.4, 0.1, 0.9])
    cost = np.array([10, 20, 5, 6, 5, 10])
    # 0 and 5 are equal, and with 2 unbeaten; 1 is beaten by 0, 3 by 2; 4 by 2 only
    assert fronts(gain, cost).tolist() == [0, 1, 0, 1, 1, 0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_nobody_is_beaten_by_the_own_front_and_everybody_by_the_one_before(points):
    gain, cost = (np.array(side, float) for side in zip(*points, strict=True))
    found = fronts(gain, cost)

    def beats(a, b):
        return gain[a] >= gain[b] and cost[a] <= cost[b] and (gain[a], cost[a]) != (gain[b], cost[b])

    for b, front in enumerate(found):
        baselines = [a for a in range(len(points)) if beats(a, b)]
        assert all(found[a] < front for a in baselines)
        assert front == 0 or any(found[a] == front - 1 for a in baselines)


def test_the_cheap_one_survives_beside_the_thorough_one():
    trials = pd.DataFrame(
        [
            {"candidate": name, "seed": seed, "recall": recall + seed / 100, "characters": characters}
            for name, recall, characters in [("dear", 0.9, 100), ("cheap", 0.5, 10), ("poor", 0.4, 50), ("b", 0.9, 120)]
            for seed in (1, 2)
        ]
    )
    assert survivors(trials, 2) == ["dear", "cheap"]
    assert survivors(trials, 9) == ["dear", "cheap", "b", "poor"]
