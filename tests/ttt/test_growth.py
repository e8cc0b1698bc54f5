"""How far the matrices have gone: of adapters and of whole matrices, from the weights that the model runs with."""

import numpy as np
import pytest
import torch

from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.records import growths_at
from tests.ttt.tiny_ttt import make_model

KINDS = {
    "adapters": lambda: Adapters.attach(make_model(), ["q", "down"], [2, 3], alpha=8),
    "whole": lambda: Full.attach(make_model(), ["up", "down"], [1]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_growth_is_that_of_the_weights_that_the_model_runs_with(kind):
    adapters = KINDS[kind]()
    theta = 0.3 * torch.randn(2, adapters.parameters, generator=torch.Generator().manual_seed(0))
    adapters.bind(theta)
    found = growths_at(adapters, theta, [5, 6], sessions=3)
    assert [(one.seed, one.sessions) for one in found] == [(5, 3), (6, 3)]
    base = np.concatenate([slot.module.base.weight.T.numpy().ravel() for slot in adapters.slots]).astype(float)
    for lane, one in enumerate(found):
        merged = [slot.module.merged for slot in adapters.slots]
        now = np.concatenate([part[lane].numpy().ravel() for part in merged if part is not None]).astype(float)
        assert one.size == pytest.approx(np.linalg.norm(now - base) / np.linalg.norm(base), rel=1e-4)
        assert one.growth == pytest.approx(np.linalg.norm(now) / np.linalg.norm(base) - 1, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_taught_has_not_grown(kind):
    adapters = KINDS[kind]()
    (one,) = growths_at(adapters, adapters.initial(0, [1]), [1], sessions=1)
    assert (one.size, one.growth) == pytest.approx((0.0, 0.0), abs=1e-12)
