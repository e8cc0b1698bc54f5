"""Alignment with neighbours: about 0 for random numbers of any spread, far more for what was trained together."""

import numpy as np
import pytest
import torch

from atlas.base.certify import own_parts
from atlas.base.model import fresh
from atlas.guard.randomness import alignments
from atlas.guard.tensors import WeightPart
from atlas.guard.weight_checks import ALIGNMENT_LIMIT, aligned
from atlas.study.base_settings import Model
from tests.honest_model import SHAPE, honest

WIDE = Model(layers=3, width=64, heads=4, ffn=128, context=32)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 50.0])
def test_fresh_matrices_are_unaligned_whatever_their_spread(spread):
    model = fresh(WIDE, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(spread)
    found = alignments(own_parts(model))
    assert max(found.values()) < ALIGNMENT_LIMIT
    assert np.mean(list(found.values())) == pytest.approx(0, abs=0.8)


def test_the_figure_has_mean_0_and_spread_about_1_even_where_neighbours_are_alike():
    """400 random matrices beside five neighbours that all share one spectrum and nearly all directions."""
    draw = np.random.default_rng(0)
    common = draw.normal(size=(40, 24)) * np.linspace(0.1, 3, 24)
    neighbours = [torch.from_numpy(common + 0.1 * draw.normal(size=common.shape)) for _ in range(5)]
    beside = [WeightPart(f"n{at}", f"n{at}", rows, "embedding") for at, rows in enumerate(neighbours)]
    figures = []
    for _ in range(400):
        rows = torch.from_numpy(draw.normal(size=(30, 24)) * draw.uniform(0.5, 2, size=(30, 1)))
        figures.append(alignments([WeightPart("a", "a", rows, "embedding"), *beside])["a"])
    assert np.mean(figures) == pytest.approx(0, abs=0.15)
    assert np.std(figures) == pytest.approx(1, abs=0.4)  # a little more with so few dimensions


def test_a_trained_model_passes_and_one_fresh_matrix_in_it_is_named():
    model = honest()
    parts = own_parts(model)
    assert aligned(parts, alignments(parts)).passed
    name = "model.decoder.layers.1.fc2.weight"
    trained = model.get_parameter(name)
    drawn = fresh(SHAPE, 99).get_parameter(name).detach()
    trained.copy_(drawn * trained.norm() / drawn.norm())  # as large as it was: its scale tells nothing
    check = aligned(parts, alignments(parts))
    assert not check.passed
    assert check.tensors == [name]


def test_matrices_of_unknown_roles_meet_by_size():
    draw = np.random.default_rng(1)
    scales = np.linspace(0.2, 3, 16)
    a, b = (torch.from_numpy(draw.normal(size=(40, 16)) * scales) for _ in range(2))
    c = torch.from_numpy(draw.normal(size=(40, 16)))
    found = alignments([WeightPart(name, name, rows, "matrix") for name, rows in {"a": a, "b": b, "c": c}.items()])
    assert found["c"] < ALIGNMENT_LIMIT < min(found["a"], found["b"])


def test_a_matrix_without_neighbours_is_not_judged():
    alone = [WeightPart("a", "a", torch.ones(3, 5), "embedding")]
    assert alignments(alone) == {}
    assert aligned(alone, {}).detail.startswith("not judged")
