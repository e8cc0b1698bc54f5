"""Checks of single tensors, by cases worked out by hand."""

import pytest
import torch

from atlas.guard.tensors import WeightPart
from atlas.guard.value_checks import halves, outliers, rounding, static, zeros

SMALL = torch.tensor([[1.0, -1.0, 2.0, 2.0], [1.0, 1.0, -2.0, 2.0], [3.0, 3.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0]])
SQUARE = SMALL.repeat_interleave(4, 0).repeat_interleave(4, 1)  # large enough to be judged


def matrix(values, name="w", kind="matrix"):
    return WeightPart(name, name, values, kind)


def test_halves_are_compared_both_ways():
    """Outputs: squares sum to 20 and 24. Inputs: 24 and 20. So the ratio of lengths is the root of 1.2."""
    assert halves([matrix(SQUARE)]).measured == pytest.approx(1.2**0.5)


@pytest.mark.parametrize("dim", [0, 1])
def test_a_half_that_is_missing_is_named(dim):
    torn = SQUARE.clone()
    torn.narrow(dim, 0, 8).mul_(0.3)
    check = halves([matrix(SQUARE, "whole"), matrix(torn, "torn")])
    assert (check.passed, check.tensors) == (False, ["torn"])
    torn.narrow(dim, 0, 8).zero_()
    check = halves([matrix(torn, "torn")])
    assert (check.passed, check.measured) == (False, None)


def test_rows_and_columns_of_zeros_are_counted_but_not_in_embeddings():
    holed = SQUARE.clone()
    holed[1], holed[:, 2] = 0, 0
    assert zeros([matrix(holed)]).measured == 2
    assert zeros([matrix(holed, kind="embedding")]).passed
    assert not zeros([matrix(torch.zeros(4), kind="norm weight")]).passed
    assert zeros([matrix(torch.zeros(4), kind="bias")]).passed


@pytest.mark.parametrize(("largest", "passes"), [(999.0, True), (1001.0, False), (1e37, False)])
def test_a_value_that_towers_over_the_others(largest, passes):
    values = torch.tensor([0.5, -1.0, largest, 0.25])
    check = outliers([matrix(values, kind="bias")])
    assert check.passed == passes
    assert check.measured == pytest.approx(largest)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_rounding_is_judged_against_the_other_matrices(kind):
    full = torch.linspace(0.1, 1, 20).view(4, 5)
    rounded = full.to(kind).float()
    assert rounding([matrix(full, "up.0"), matrix(full * 0.7, "up.1")]).passed
    assert rounding([matrix(full, "up.0"), matrix(rounded, "down.0")]).passed  # another role may be held otherwise
    whole = rounding([matrix(rounded, "up.0"), matrix((full * 0.7).to(kind).float(), "up.1")])
    assert whole.passed
    assert whole.detail.startswith("note: every matrix is exact in 16 bits")
    for others in ([], [matrix(full, "up.2")]):
        check = rounding([matrix(full, "up.0"), matrix(rounded, "up.1"), *others])
        assert (check.passed, check.tensors) == (False, ["up.1"])


def test_every_check_has_a_name_of_its_own_and_takes_a_model_without_matrices():
    found = list(static([matrix(torch.linspace(1, 2, 3), kind="norm weight")]))
    assert len({check.name for check in found}) == len(found) == 12
    assert all(check.passed for check in found)
