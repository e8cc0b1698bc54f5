"""Shares of variance, by hand, by algebra, and against a least-squares fit."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.tables.variance import ERROR, SEED, decompose, shares

FACTORS = ["recipe", "place", "size"]


def test_one_factor_by_hand():
    """Levels 0 and 2 with seeds adding -1, 0, 1 and no noise: SS of the factor 6, of the seed 4, no error."""
    grid = np.array([[-1.0, 0, 1], [1, 2, 3]])
    found = shares(grid, ["recipe"])
    assert found == pytest.approx({"recipe": 0.6, SEED: 0.4, ERROR: 0.0})


def test_pure_interaction():
    grid = np.repeat(np.array([[1.0, -1], [-1, 1]])[..., None], 4, axis=2)
    assert shares(grid, ["recipe", "place"]) == pytest.approx(
        {"recipe": 0, "place": 0, "recipe x place": 1, SEED: 0, ERROR: 0}
    )


def test_noise_explains_nothing():
    """Omega squared of factors that do nothing is 0 on average, where eta squared is not."""
    draw = np.random.default_rng(0)
    found = [shares(draw.standard_normal((3, 2, 2, 5)), FACTORS) for _ in range(400)]
    for source in found[0].keys() - {ERROR}:
        values = np.array([one[source] for one in found])
        assert abs(values.mean()) < 3 * values.std() / 20 + 1e-3, source


@given(st.integers(0, 10**6), st.floats(-50, 50), st.floats(0.01, 100))
def test_shares_sum_to_one_and_ignore_units(seed, shift, scale):
    grid = np.random.default_rng(seed).random((2, 3, 2, 4))
    found = shares(grid, FACTORS)
    assert sum(found.values()) == pytest.approx(1)
    assert shares(scale * grid + shift, FACTORS) == pytest.approx(found, abs=1e-6)


def test_sums_of_squares_are_those_of_least_squares():
    """The drop in residual squares when a factor's dummies join a model of all others is its share times the total."""
    grid = np.random.default_rng(1).random((2, 3, 2, 4))
    index = np.array(list(itertools.product(*map(range, grid.shape))))
    y = grid.ravel()

    def coded(axes):
        """Sum-to-zero codes of a set of axes, multiplied."""
        columns = np.ones((len(y), 1))
        for axis in axes:
            levels = grid.shape[axis]
            codes = np.vstack([np.eye(levels - 1), -np.ones(levels - 1)])[index[:, axis]]
            columns = np.einsum("ij,ik->ijk", columns, codes).reshape(len(y), -1)
        return columns

    def residual(sets):
        design = np.hstack([np.ones((len(y), 1)), *(coded(axes) for axes in sets)])
        return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())

    sets = [axes for size in (1, 2, 3) for axes in itertools.combinations(range(3), size)] + [(3,)]
    total, error = float(((y - y.mean()) ** 2).sum()), residual(sets) / (11 * 3)
    found = shares(grid, FACTORS)
    for axes in sets:
        name = SEED if axes == (3,) else " x ".join(FACTORS[axis] for axis in axes)
        drop = residual([other for other in sets if other != axes]) - residual(sets)
        freedom = int(np.prod([grid.shape[axis] - 1 for axis in axes]))
        assert found[name] == pytest.approx((drop - freedom * error) / (total + error), abs=1e-9)


def test_the_interval_holds_the_truth():
    """Two levels one apart, noise of a third: the factor's true share is 1/4 / (1/4 + 1/9), in 95% of studies."""
    draw, held = np.random.default_rng(2), []
    truth = 0.25 / (0.25 + 1 / 9)
    for _ in range(600):
        grid = np.array([0.0, 1.0])[:, None] + draw.standard_normal((2, 8)) / 3
        part = decompose(grid, ["recipe"])[0]
        held.append(part.ci_low <= truth <= part.ci_high)
    assert 0.90 < np.mean(held) < 0.99


def test_two_seeds_are_too_few():
    with pytest.raises(ValueError, match="at least three"):
        decompose(np.zeros((2, 2)), ["recipe"])
