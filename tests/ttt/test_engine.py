"""The lean engine against the plain one: packed lanes give what one padded lane at a time gives."""

import numpy as np
import pytest
import torch

from atlas.config import Fast, Model, Recipe, Rehearsal, Role, Slow
from atlas.ttt.lines import Line, line
from atlas.ttt.lora import Adapters
from atlas.ttt.recipe import Trainer
from atlas.ttt.scoring import score
from tests.ttt import plain_engine
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
SHAPE = Model(layers=3, width=32, heads=4, ffn=64, context=96)
LANES = 3


def taught(lane: int, count: int, word: str) -> list[Line]:
    """Lines of unlike lengths, so that lanes are uneven."""
    return [
        line(f"The {word} of {'far ' * ((i + lane) % 4)}gate {i}{lane} is", f"{word[0]}{i}", "t") for i in range(count)
    ]


NEW = [taught(lane, 3, "code") for lane in range(LANES)]
OLD = [taught(lane, 4, "hue") for lane in range(LANES)]


@pytest.mark.parametrize("over", ["sentence", "answer"])
@pytest.mark.parametrize(
    ("targets", "ranks"),
    [
        (["q", "v"], [4, 4, 4]),
        (["up", "down"], [4, 4, 4]),
        (["q", "k", "v", "o", "up", "down"], [2, 5, 3]),
        (["v"], [0, 0, 4]),  # nothing to train in the lower layers
        (["down"], [4, 0, 0]),
    ],
)
def test_two_sessions_are_those_of_the_plain_engine(targets: list[Role], ranks: list[int], over):
    recipe = Recipe(loss=over, fast=Fast(steps=6), slow=Slow(epochs=2, anchor=0.5), rehearsal=Rehearsal(facts=4))
    model = make_model(config=SHAPE)
    adapters = Adapters.attach(make_model(config=SHAPE), targets, ranks, alpha=8)
    trainer, theta = Trainer(adapters, recipe, CPU), adapters.initial(0, range(LANES))
    plain = list(theta)
    for session in range(2):
        orders = [[np.random.default_rng([session, lane]) for lane in range(LANES)] for _ in range(2)]
        theta, fast, slow = trainer.session(theta, NEW, OLD, orders[0])
        losses = np.concatenate([fast.losses, slow.losses])
        for lane in range(LANES):
            plain[lane], expected = plain_engine.session(
                model, adapters, recipe, plain[lane], NEW[lane], OLD[lane], orders[1][lane]
            )
            np.testing.assert_allclose(losses[:, lane], expected, atol=1e-5)
    torch.testing.assert_close(theta, torch.stack(plain), atol=1e-4, rtol=1e-3)

    adapters.bind(theta)
    found = score(adapters, OLD, CPU)
    for lane in range(LANES):
        weights = plain_engine.weights(model, adapters, theta[lane])
        for i, one in enumerate(OLD[lane]):
            assert found.nll[lane, i] == pytest.approx(
                plain_engine.mean_nll(model, weights, [one], "sentence").item(), abs=1e-5
            )
