"""The recipe, phase by phase."""

import numpy as np
import pytest
import torch

from atlas.base.text import decode
from atlas.config import Fast, Recipe, Rehearsal, Slow
from atlas.ttt.lines import Line, batch, line
from atlas.ttt.lora import Adapters
from atlas.ttt.recipe import Trainer, rehearse
from atlas.ttt.scoring import score
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
NEW = [[line(f"The code of gate {lane}{i} is", f"K{i}", "t") for i in range(3)] for lane in range(2)]
OLD = [[line(f"The hue of gate {lane}{i} is", f"H{i}", "t") for i in range(4)] for lane in range(2)]
NONE: list[list[Line]] = [[], []]


def orders(seed: int = 0):
    return [np.random.default_rng([seed, lane]) for lane in range(2)]


def trainer(**recipe) -> tuple[Trainer, torch.Tensor]:
    adapters = Adapters.attach(make_model(), ["q", "v"], [4, 4], alpha=4)
    return Trainer(adapters, Recipe(**recipe), CPU), adapters.initial(0, [1, 2])


def test_a_session_runs_both_phases_and_lowers_the_loss():
    teacher, theta = trainer(fast=Fast(steps=15), slow=Slow(epochs=3, batch=3))
    before = theta.clone()
    after, fast, slow = teacher.session(theta, NEW, OLD, orders())
    assert torch.equal(theta, before)
    assert fast.losses.shape == (15, 2)
    assert slow.losses.shape == (3 * 3, 2)  # 7 facts in batches of 3, 3 epochs
    assert (fast.losses[-1] < fast.losses[0]).all()
    teacher.adapters.bind(None)
    base = score(teacher.adapters, NEW, CPU).nll
    teacher.adapters.bind(after)
    assert (score(teacher.adapters, NEW, CPU).nll < base).all()


@pytest.mark.parametrize("blend", [0.0, 0.25, 1.0])
def test_blend_goes_that_share_of_the_way_to_the_copy(blend):
    theta = trainer()[1]
    copy, _ = trainer(blend=1.0)[0]._fast(theta, NEW)
    blended, _ = trainer(blend=blend)[0]._fast(theta, NEW)
    torch.testing.assert_close(blended, theta + blend * (copy - theta))
    assert not torch.equal(copy, theta)


def test_without_a_fast_phase_nothing_is_copied_or_blended():
    teacher, theta = trainer(fast=None)
    after, fast, slow = teacher.session(theta, NEW, NONE, orders())
    assert fast.steps == 0
    assert slow.steps == 3
    assert not torch.equal(after, theta)


def test_a_strong_anchor_holds_the_weights():
    def moved(anchor: float) -> float:
        teacher, theta = trainer(fast=None, slow=Slow(epochs=8, anchor=anchor))
        after, *_ = teacher.session(theta, NEW, NONE, orders())
        return float((after - theta).norm())

    assert moved(100.0) < moved(1.0) < moved(0.0)


def test_the_first_adam_step_is_the_rate_times_the_sign_of_the_gradient():
    """Adam's first step is lr * g / (|g| + eps), whatever the clip: A's gradient is zero while B is zero."""
    teacher, theta = trainer(fast=Fast(steps=1, lr=1e-3), blend=1.0)
    after, _ = teacher._fast(theta, NEW)
    step = (after - theta).abs()
    names = teacher.adapters.named(step)
    for name, part in names.items():
        if name.endswith("lora_A"):
            assert part.max() == 0
        else:
            assert part.max().item() == pytest.approx(1e-3, rel=1e-3)


def test_gradients_are_clipped_lane_by_lane():
    teacher, _ = trainer(clip=2.0)
    grad = torch.tensor([[3.0, 4.0], [0.6, 0.8]])
    teacher._clip(grad)
    torch.testing.assert_close(grad, torch.tensor([[1.2, 1.6], [0.6, 0.8]]))


def test_the_loss_is_over_the_sentence_or_the_answer():
    for kind in ("sentence", "answer"):
        teacher, theta = trainer(loss=kind)
        teacher.adapters.bind(theta)
        lines = [[NEW[0][0]], [line("A much longer prompt than that is", "x", "t")]]
        for even in (False, True):  # filled up, as on a GPU
            found = teacher._loss(batch(lines, CPU, even))
            scores = score(teacher.adapters, lines, CPU)
            expected = scores.nll if kind == "sentence" else scores.answer_nll
            np.testing.assert_allclose(found.detach().numpy(), expected[:, 0], rtol=1e-5)


def test_a_lane_learns_the_same_alone():
    teacher, theta = trainer()
    both, *_ = teacher.session(theta, NEW, OLD, orders())
    alone, *_ = teacher.session(theta[1:], NEW[1:], OLD[1:], orders()[1:])
    torch.testing.assert_close(alone, both[1:], atol=1e-4, rtol=1e-3)


def test_every_epoch_sees_every_fact_once():
    teacher, _ = trainer(slow=Slow(epochs=2, batch=3))
    seen = list(teacher._epochs(Slow(epochs=2, batch=3), OLD, orders()))
    assert [len(rows.lengths) for rows in seen] == [2 * 3, 2 * 1, 2 * 3, 2 * 1]
    for lane in range(2):
        lanes = [rows.tokens.split(list(rows.lanes))[lane] for rows in seen[:2]]
        assert "".join(decode(tokens.numpy()) for tokens in lanes).count("\nThe hue of gate") == 4
        texts = [decode(tokens.numpy()) for rows in seen[:2] for tokens in rows.tokens.split(rows.lengths.tolist())]
        assert len({text for text in texts if f"gate {lane}" in text}) == 4


def test_rehearsal_choices():
    losses = np.array([0.5, 3.0, 0.1, 2.0, 3.0], np.float32)
    draw = np.random.default_rng(0)
    assert rehearse(Rehearsal(choice="weakest", facts=3), losses, draw).tolist() == [1, 4, 3]
    assert rehearse(Rehearsal(choice="weakest", facts=9), losses, draw).tolist() == [1, 4, 3, 0, 2]
    assert rehearse(Rehearsal(choice="none"), losses, draw).tolist() == []
    picks = [tuple(rehearse(Rehearsal(choice="random", facts=2), losses, draw)) for _ in range(60)]
    assert all(len(set(pick)) == 2 for pick in picks)
    assert {i for pick in picks for i in pick} == set(range(5))
