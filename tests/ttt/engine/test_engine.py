"""The lean engine against the plain one: packed lanes give what one padded lane at a time gives."""

import numpy as np
import pytest
import torch

from atlas.study.base_settings import Model
from atlas.study.recipes import Recipe
from atlas.study.settings import Role
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.layouts import PackedLines
from atlas.ttt.engine.lines import ItemTable, batch
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score
from atlas.ttt.recipe import Trainer
from tests.ttt.engine import plain_engine
from tests.ttt.made_sessions import draw, made_session, taught
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
SHAPE = Model(layers=3, width=32, heads=4, ffn=64, context=96)
LANES = 3
NEW = [taught(lane, 3, "code") for lane in range(LANES)]
OLD = [taught(lane, 6, "hue") for lane in range(LANES)]
KNOWN = np.random.default_rng(0).random((LANES, 6)).astype(np.float32)
SLOW = {"epochs": 2, "batch": 3, "anchor": {"weight": 0.5}, "rehearsal": {"facts": 4}}
ESSAY = {"fast": {"steps": 6}, "slow": SLOW}


def two_sessions(targets: list[Role], ranks: list[int], recipe: Recipe) -> None:
    """Teach two sessions with either engine; all losses, and the adapters at the end, must agree.

    In float64: Adam's first steps go by the sign of a gradient, however small, and let rounding of float32 grow.
    """
    adapters = Adapters.attach(make_model(config=SHAPE).double(), targets, ranks, alpha=8)
    as_the_plain_engine(adapters, recipe, LANES)


def as_the_plain_engine(adapters: LaneModel, recipe: Recipe, lanes: int) -> None:
    """Two sessions of the first lanes, with either engine."""
    model = make_model(config=SHAPE).double()
    theta = adapters.initial(0, range(lanes)).double()
    trainer = Trainer(adapters, recipe, CPU)
    learner = trainer.learner(theta)
    plain = [plain_engine.Plain(model, adapters, recipe, lane) for lane in theta]
    for _ in range(2):
        learner, traces, _ = trainer.train(learner, made_session(OLD[:lanes], NEW[:lanes], KNOWN[:lanes]))
        losses = torch.cat([trace.losses for trace in traces])
        for lane, alone in enumerate(plain):
            orders = {name: draw(lane, f"{name} order") for name in recipe.active}
            expected = alone.session(NEW[lane], OLD[lane], KNOWN[lane], orders)
            np.testing.assert_allclose(losses[:, lane], expected, rtol=1e-6)  # clips differ by 1e-6
    np.testing.assert_allclose(learner.theta, torch.stack([one.theta for one in plain]), atol=1e-5, rtol=1e-4)

    adapters.bind(learner.theta)
    found = score(adapters, OLD[:lanes], CPU)
    for lane in range(lanes):
        weights = plain_engine.weights(model, adapters, learner.theta[lane])
        for i, one in enumerate(OLD[lane]):
            alone_nll = plain_engine.mean_nll(model, weights, [one], "sentence").item()
            assert found.nll[lane, i] == pytest.approx(alone_nll, abs=1e-6)


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
    two_sessions(targets, ranks, Recipe.model_validate({"loss": over, "phases": ESSAY}))


@pytest.mark.parametrize(
    "phases",
    [
        {"all": {"steps": 7, "rehearsal": {"facts": 3}, "optimiser": {"memory": "run"}}},
        {"all": {"steps": 5, "batch": 2, "optimiser": {"memory": "run", "momentum": 0.7, "variance": 0.9}}},
        {"all": {"epochs": 3, "optimiser": {"kind": "sgd", "memory": "run"}, "lr": 0.1, "schedule": "linear"}},
        {"all": {"epochs": 4, "schedule": "cosine", "anchor": {"weight": 0.2, "to": "zero"}}},
        {"one": {"steps": 3, "blend": 0.3}, "two": {"epochs": 2, "new": False, "rehearsal": {"facts": 5}, "batch": 2}},
        {"all": {"steps": 6, "anchor": {"weight": 50, "by": "importance"}, "lr": 0.01}},
    ],
    ids=["memory", "betas", "sgd", "to zero", "three", "importance"],
)
def test_all_that_a_phase_may_say(phases):
    two_sessions(["q", "up"], [4, 0, 2], Recipe.model_validate({"preset": "own", "phases": phases}))


@pytest.mark.parametrize("lanes", [1, LANES])
@pytest.mark.parametrize(
    ("targets", "layers"), [(["q", "k", "v", "o", "up", "down"], [0, 1, 2]), (["up", "down"], [0, 1, 2]), (["v"], [1])]
)
def test_fine_tuning_is_that_of_the_plain_engine(targets: list[Role], layers: list[int], lanes: int):
    """Whole matrices under autograd and torch's own Adam; several steps with and without stored facts."""
    full = Full.attach(make_model(config=SHAPE).double(), targets, layers)
    as_the_plain_engine(full, Recipe.model_validate({"phases": ESSAY}), lanes)


@pytest.mark.parametrize("layers", [[0, 1, 2], [1]])
def test_the_gradient_of_whole_matrices_is_autograd_s(layers: list[int]):
    """Of one lane, away from the base, added to what is there."""
    full = Full.attach(make_model(config=SHAPE).double(), ["q", "o", "up", "down"], layers)
    theta = torch.randn(1, full.parameters, generator=torch.Generator().manual_seed(1)).double() * 0.05
    grad = torch.ones_like(theta)
    full.train(theta, grad)
    full.nll(batch([NEW[0]], CPU))[0].sum().backward()
    live = theta[0].clone().requires_grad_(True)
    weights = plain_engine.weights(make_model(config=SHAPE).double(), full, live)
    predicted = sum(one.predicted for one in NEW[0])
    (predicted * plain_engine.mean_nll(make_model(config=SHAPE).double(), weights, NEW[0], "sentence")).backward()
    torch.testing.assert_close(grad[0] - 1, live.grad)


def test_tokens_that_are_asked_for_get_the_logits_they_have_among_all():
    """With and without adapters, forward and backward."""
    everywhere: list[Role] = ["q", "k", "v", "o", "up", "down"]
    adapters = Adapters.attach(make_model(config=SHAPE).double(), everywhere, [2, 2, 2], alpha=8)
    theta = adapters.initial(0, range(2)).double() + 0.1
    lines = ItemTable.of([OLD[0][:2], OLD[1][1:3]], CPU).padded(torch.tensor([[0, 1], [1, 0]]), slice(2))
    keep = torch.tensor([[True, False], [True, True]])
    whole, part = (PackedLines().batch(lines, keep, over) for over in ("sentence", "answer"))
    rows = whole.answers.nonzero()[:, 0]
    assert part.lengths.tolist() == [3, 0, 3, 3]
    assert (part.predicted, part.lanes) == ((3, 6), whole.lanes)
    assert part.targets.tolist() == whole.targets[rows].tolist()
    assert part.answers.all()
    found, grads = [], []
    for lines_of, chosen in ((whole, rows), (part, slice(None))):
        grads.append(torch.zeros_like(theta))
        adapters.train(theta, grads[-1])
        logits = adapters.logits(lines_of)[lines_of.outputs][chosen]
        logits.sin().sum().backward()
        found.append(logits.detach())
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(grads[1], grads[0])
    adapters.bind(theta)
    torch.testing.assert_close(adapters.logits(part), found[0])
