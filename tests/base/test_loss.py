"""The validation loss is what its protocol says."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from atlas.base.language import validation_loss
from atlas.base.model import fresh
from atlas.errors import AtlasError
from atlas.study.base_settings import Model

SHAPE = Model(layers=1, width=16, heads=2, ffn=32, context=8)


@pytest.fixture
def model():
    model = fresh(SHAPE, 0)
    with torch.no_grad():
        model.head.mul_(20)  # a fresh model is near uniform, which would hide a shifted target
    return model.eval()


@pytest.fixture
def text():
    return np.random.default_rng(0).integers(0, 96, 8 * 37 + 5).astype(np.uint8)


def test_it_is_the_mean_over_windows_one_by_one(model, text):
    tokens = torch.from_numpy(text.astype(np.int64))
    with torch.no_grad():
        losses = [
            F.cross_entropy(model(tokens[None, i : i + 8])[0], tokens[i + 1 : i + 9]).item()
            for i in range(0, len(tokens) - 8, 8)
        ]
    assert len(losses) == 37
    assert validation_loss(model, text) == pytest.approx(np.mean(losses), abs=1e-5)


def test_a_remainder_is_left_out(model, text):
    assert validation_loss(model, text) == validation_loss(model, text[: 8 * 37 + 1])
    assert validation_loss(model, text) != validation_loss(model, text[: 8 * 36 + 1])


def test_all_symbols_alike_cost_ln_96(model, text):
    with torch.no_grad():
        model.head.zero_()
    assert validation_loss(model, text) == pytest.approx(np.log(96), abs=1e-5)


def test_a_text_shorter_than_a_window_is_refused(model, text):
    assert validation_loss(model, text[:9]) > 0
    with pytest.raises(AtlasError, match=r"8 tokens, expected at least 9 .*longer corpus"):
        validation_loss(model, text[:8])
