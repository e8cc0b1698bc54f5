"""A GPU against the processor: the same losses over a whole session. Skipped, and said so, where there is none."""

import numpy as np
import pytest
import torch

from atlas.study.recipes import Recipe
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score
from atlas.ttt.recipe import Trainer
from tests.ttt.made_sessions import made_session, taught
from tests.ttt.tiny_ttt import make_model

LANES = 4
NEW = [taught(lane, 3, "code") for lane in range(LANES)]
OLD = [taught(lane, 6, "hue") for lane in range(LANES)]
KNOWN = np.random.default_rng(0).random((LANES, 6)).astype(np.float32)


def session_on(device: torch.device, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Losses of all steps, (steps, lanes), and of the stored facts after the session, (lanes, facts)."""
    adapters = Adapters.attach(make_model().double().to(device), ["q", "v", "up", "down"], [4, 4], alpha=8)
    trainer = Trainer(adapters, recipe, device)
    learner = trainer.learner(adapters.initial(0, range(LANES)).double().to(device))
    after, traces = trainer.session(learner, made_session(OLD, NEW, KNOWN, device))
    adapters.bind(after.theta)
    return torch.cat([trace.losses for trace in traces]).cpu().numpy(), score(adapters, OLD, device).nll


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here, so none was compared with")
@pytest.mark.parametrize(
    "keys",
    [
        {"preset": "essay"},
        {"preset": "recall", "phases": {"all": {"text": None, "rehearsal": {"facts": 4}}}},
    ],
    ids=["essay", "recall"],
)
def test_a_session_on_a_gpu_is_that_on_the_processor(keys):
    recipe = Recipe.model_validate(keys)
    losses, after = session_on(torch.device("cpu"), recipe)
    losses_gpu, after_gpu = session_on(torch.device("cuda"), recipe)
    np.testing.assert_allclose(losses_gpu, losses, rtol=1e-5)
    np.testing.assert_allclose(after_gpu, after, rtol=1e-5)
