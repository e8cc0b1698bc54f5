"""The spectrum of a fresh initialisation, and of what has left it."""

import numpy as np
import pytest
import torch

from atlas.guard.randomness import distance_from_fresh, marchenko_pastur
from atlas.guard.tensors import WeightPart
from atlas.guard.weight_checks import SPECTRUM_LIMIT, spectra

SHAPES = [(128, 128), (512, 128), (128, 512), (96, 128), (32, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_fresh_matrices_pass_for_fresh(shape):
    draw = np.random.default_rng(0)
    assert max(distance_from_fresh(draw.normal(0, 0.02, shape), 0.02) for _ in range(20)) < SPECTRUM_LIMIT


@pytest.mark.parametrize("shape", SHAPES)
def test_other_scales_and_added_directions_do_not(shape):
    draw = np.random.default_rng(0)
    fresh = draw.normal(0, 0.02, shape)
    few = sum(np.outer(draw.normal(size=shape[0]), draw.normal(size=shape[1])) for _ in range(min(shape) // 4))
    for changed in (2 * fresh, 0.5 * fresh, fresh + 0.02 * few, 0 * fresh):
        assert distance_from_fresh(changed, 0.02) > SPECTRUM_LIMIT


def test_the_law_has_its_edges_and_its_mean():
    """Marchenko and Pastur: support (1 -+ sqrt(ratio))^2, mean 1."""
    for ratio in (0.25, 1.0):
        low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
        points = np.linspace(low, high, 20001)
        law = marchenko_pastur(points, ratio)
        assert law[[0, -1]] == pytest.approx([0, 1])
        assert np.trapezoid(points[:-1] + np.diff(points) / 2, law[:-1]) == pytest.approx(1, abs=2e-3)
    singular = np.linalg.svd(np.random.default_rng(0).normal(size=(1500, 1500)), compute_uv=False) ** 2 / 1500
    assert marchenko_pastur(np.array([np.median(singular)]), 1.0)[0] == pytest.approx(0.5, abs=2e-3)


def test_a_trained_matrix_of_the_size_of_a_fresh_one_is_no_alarm():
    """Scaled to a spread of 0.02, random by its spectrum, but aligned beyond doubt; a matrix that is not is named."""
    draw = np.random.default_rng(0)
    parts = [WeightPart(name, name, torch.from_numpy(draw.normal(0, 0.02, (32, 32))), "matrix") for name in "ab"]
    assert spectra(parts, {"a": 50.0, "b": 60.0}).passed
    check = spectra(parts, {"a": 50.0, "b": 1.2})
    assert (check.passed, check.tensors) == (False, ["b"])
