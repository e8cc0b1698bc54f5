"""The functional checks: a sound model passes them, and the move that undoes the damage is found."""

import math

import numpy as np
import pytest
import torch

from atlas.base.certify import anatomy
from atlas.base.model import Attention, fresh
from atlas.guard import wiring
from atlas.guard.wiring import LayerModule, LossProbe, all_moves, moved, samples, stepped
from tests.honest_model import SHAPE, honest, unseen

LAYER = "model.decoder.layers.0."
Q, K, V = (f"{LAYER}self_attn.{role}_proj.weight" for role in "qkv")


def failures(model):
    """Names of the checks that fail, and the tensors that they name."""
    failed = [check for check in wiring.functional(anatomy(model), unseen()) if not check.passed]
    assert all(check.needs == "text" for check in failed)
    return {check.name for check in failed}, {name for check in failed for name in check.tensors}


def test_a_sound_model_passes_and_is_left_as_it_was():
    model = honest()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = list(wiring.functional(anatomy(model), unseen()))
    assert [check.name for check in found if not check.passed] == []
    assert [check.name for check in found] == ["predicts", *wiring.SENTENCES]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_queries_and_keys_exchanged():
    model = honest()
    q, k = (model.get_submodule(name.removesuffix(".weight")) for name in (Q, K))
    weights = {name: tensor.clone() for name, tensor in q.state_dict().items()}
    q.load_state_dict(k.state_dict())
    k.load_state_dict(weights)
    checks, tensors = failures(model)
    assert "siblings" in checks
    assert {Q, K} <= tensors


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("transposed", lambda weight: weight.T.clone()),
        ("heads", lambda weight: torch.roll(weight, SHAPE.width // 2, 0)),
        ("scale", lambda weight: weight * 0.5),
        ("load", lambda weight: -weight),
    ],
)
def test_one_matrix_of_values_damaged(check, change):
    model = honest()
    weight = model.get_parameter(V)
    weight.copy_(change(weight))
    checks, tensors = failures(model)
    assert check in checks
    assert any(name.startswith(LAYER) for name in tensors)


def test_layers_exchanged():
    model = honest()
    first, second = model.model.decoder.layers
    model.model.decoder.layers = torch.nn.ModuleList([second, first])
    assert "layers" in failures(model)[0]


def test_norms_exchanged():
    model = honest()
    layer = model.model.decoder.layers[0]
    layer.self_attn_layer_norm, layer.final_layer_norm = layer.final_layer_norm, layer.self_attn_layer_norm
    gains = wiring.gained(norm_swaps(model), *looks(model))
    assert gains[0].mean > wiring.ERRORS * gains[0].error > 0


def norm_swaps(model):
    moves = all_moves(anatomy(model).modules, SHAPE.heads)
    return [move for move in moves if all("norm" in name for name in move.tensors) and len(move.tensors) == 2][:1]


def looks(model):
    return [LossProbe(anatomy(model), sample) for sample in samples(unseen(), SHAPE.context, 512, 4096)]


def test_the_wrong_number_of_heads():
    model = honest()
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    for attention in attentions:
        attention.heads = 1
    model.config = model.config.model_copy(update={"heads": 1})
    assert "heads" in failures(model)[0]
    assert all(attention.heads == 1 for attention in attentions)


def test_positions_off_by_one():
    model = honest()
    positions = model.model.decoder.embed_positions.weight
    positions[2:] = positions[2:].roll(1, 0)  # OPT leaves the first two rows unused
    assert "positions" in failures(model)[0]


def test_a_model_that_predicts_worse_than_letters_do():
    model = fresh(SHAPE, 0).requires_grad_(False)
    assert "predicts" in failures(model)[0]


def test_a_loss_that_is_no_number_is_refused():
    model = honest()
    model.get_parameter(V)[0, 0] = float("nan")
    assert "predicts" in failures(model)[0]


def test_a_short_text_is_said_not_to_be_enough():
    (check,) = wiring.functional(anatomy(honest()), unseen()[:10_000])
    assert check.passed
    assert check.detail.startswith("not judged: the text has 10000 characters")


def test_every_move_is_undone_bit_by_bit():
    model = honest()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for move in all_moves(anatomy(model).modules, SHAPE.heads):
        with moved(move):
            assert any(not torch.equal(model.state_dict()[name], before[name]) for name in before), move.name
        assert all(torch.equal(model.state_dict()[name], before[name]) for name in before), move.name


def test_losses_from_a_layer_on_are_those_of_the_whole_model():
    model = honest()
    (sample,) = samples(unseen(), SHAPE.context, 256)
    probe = LossProbe(anatomy(model), sample)
    expected = torch.nn.functional.cross_entropy(
        model(sample.inputs).flatten(0, 1), sample.targets.flatten(), reduction="none"
    )
    for layer in range(-1, SHAPE.layers):
        torch.testing.assert_close(probe.losses(layer), expected)


def test_a_step_has_the_length_that_was_asked_for():
    weight = torch.eye(3) * 2
    move = stepped(LayerModule(0, "q", "w", weight), torch.ones(3, 3), 0.1)
    assert float((move.values()[0] - weight).norm()) == pytest.approx(0.1 * float(weight.norm()))


def test_entropies_by_hand():
    """abab...: two characters, each half the text (but for its end), and the next one is certain."""
    letters, pairs = wiring.entropies(np.array([1, 2] * 500 + [1], dtype=np.uint8))
    assert letters == pytest.approx(math.log(2))
    assert pairs == pytest.approx(0, abs=1e-12)
