"""Functional checks: on a little text, no move of ``atlas.guard.moves`` makes the model better.

A sound model is at a local optimum of such moves; a damaged one is mended by the move that undoes the damage, or does
better without the damaged module. Both losses of a move are taken on the same characters, so their difference is
exact to rounding, and its standard error is that of paired differences. A move that gains anything at a first look
is held against other text, and only that second look decides: chance alone would need three standard errors there.

A model that has learnt little has not reached an optimum. The limit is therefore wider for one that predicts worse
than the frequencies of character pairs do (Shannon, "Prediction and entropy of printed English", 1951).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.checkpoint import Check
from atlas.base.model import Transformer
from atlas.base.muon import orthogonalise
from atlas.guard.moves import Move, Site, all_moves, moved, shifted, stepped
from atlas.guard.probe import Probe, Sample, cut_into, positions_of, samples, sites_of
from atlas.guard.values import finite

FIRST_LOOK, SECOND_LOOK, FITTED = 512, 4096, 2048  # characters of text
FEWEST = 20_000  # characters that the text must have: the gradient's lie far from those that its steps are held against
SUSPECTS = 3  # moves of a kind that are looked at twice
ERRORS = 3.0  # standard errors that a gain must exceed
MARGIN = 0.01  # nats per character that a move may gain; honest models gain at most 0.002
STEP_MARGIN = 0.03  # the same for a step; honest models in the midst of their training gain up to 0.018
SLACK = 0.1  # share of what the model lacks against pair frequencies that a move may gain on top
POSITIONS = "model.decoder.embed_positions.weight"
STEP = 0.05  # length of a step, as a share of the matrix

SENTENCES = {
    "siblings": "no two modules of a layer do better in each other's place",
    "transposed": "no square matrix does better transposed",
    "heads": "no two attention heads do better in each other's place, nor more heads or fewer",
    "layers": "no two layers do better in each other's place",
    "positions": "positions do no better one place on or back",
    "scale": "no weight does better at half or twice its size",
    "load": "no module does harm: silenced, the loss does not fall",
    "step": "no matrix does much better a step down its own gradient",
}


@dataclass(frozen=True)
class Gain:
    """How much a move lowers the loss, in nats per character, and the standard error of that."""

    move: Move
    mean: float
    error: float


def checks(model: Transformer, tokens: np.ndarray) -> Iterator[Check]:
    """Every functional check of a model on text that it has not been trained on: tokens, uint8, (characters,)."""
    context = model.config.context
    if len(tokens) < max(FEWEST, 20 * context):
        yield _not_judged(f"the text has {len(tokens)} characters, {max(FEWEST, 20 * context)} are needed")
        return
    first, second = samples(tokens, context, FIRST_LOOK, SECOND_LOOK)
    (fitted,) = samples(tokens[-FITTED - context :], context, FITTED)
    looks = Probe(model, first), Probe(model, second)
    loss = float(looks[1].losses().mean())
    letters, pairs = entropies(tokens)
    yield predicts(loss, letters)
    slack = SLACK * max(0.0, loss - pairs) if math.isfinite(loss) else 0.0
    sites = sites_of(model)
    moves = [*all_moves(sites, model.config.heads), *shifted(POSITIONS, positions_of(model))]
    moves += _steps(model, sites, fitted)
    for kind, sentence in SENTENCES.items():
        gains = gained([move for move in moves if move.kind == kind], *looks)
        gains += _recut(model, looks[1]) if kind == "heads" else []
        if gains:
            yield _verdict(kind, sentence, gains, slack + (STEP_MARGIN if kind == "step" else MARGIN))


def predicts(loss: float, letters: float) -> Check:
    """The model predicts its text better than the frequencies of single characters do."""
    detail = "loss on a sample of the text, nats/char, against the entropy of its letters"
    passed = loss < letters
    return Check(name="predicts", passed=passed, measured=finite(loss), limit=letters, detail=detail, needs="text")


def entropies(tokens: np.ndarray) -> tuple[float, float]:
    """Entropy of a text's characters, and of each character given the one before; nats per character."""
    pairs = np.zeros((256, 256))
    np.add.at(pairs, (tokens[:-1], tokens[1:]), 1)
    pairs /= pairs.sum()
    single = pairs.sum(1)
    letters = _entropy(single)
    return letters, _entropy(pairs) - letters


def _entropy(shares: np.ndarray) -> float:
    used = shares[shares > 0]
    return float(-(used * np.log(used)).sum())


def gained(moves: Sequence[Move], first: Probe, second: Probe) -> list[Gain]:
    """What each move gains: by the first look, but by the second one where the first is suspicious."""
    gains = _look(moves, first)
    suspects = sorted((gain for gain in gains if not gain.mean <= 0), key=lambda gain: -gain.mean)[:SUSPECTS]
    names = {gain.move.name for gain in suspects}
    again = _look([gain.move for gain in suspects], second)
    return [*again, *(_none(gain) for gain in gains if gain.move.name not in names)]


def _look(moves: Iterable[Move], probe: Probe) -> list[Gain]:
    before, found = probe.losses(), []
    for move in moves:
        with moved(move):
            saved = before - probe.losses(move.layer)
        found.append(Gain(move, float(saved.mean()), float(saved.std()) / math.sqrt(len(saved))))
    return found


def _recut(model: Transformer, probe: Probe) -> list[Gain]:
    """What it gains to cut the same matrices into half or twice as many heads, as a wrong config does."""
    width, heads, before = model.config.width, model.config.heads, probe.losses()
    gains = []
    for count in (heads // 2, heads * 2):
        if count and width % count == 0:
            with cut_into(model, count):
                saved = before - probe.losses(0)
            move = Move("heads", f"{count} heads", 0, (), (), tuple)
            gains.append(Gain(move, float(saved.mean()), float(saved.std()) / math.sqrt(len(saved))))
    return gains


def _none(gain: Gain) -> Gain:
    """A gain that the second look has not confirmed, because others of its kind were larger, counts as none."""
    return Gain(gain.move, min(gain.mean, 0.0), gain.error)


def _steps(model: Transformer, sites: Sequence[Site], sample: Sample) -> Iterator[Move]:
    """Steps of single matrices against their gradients, brought near orthogonal (see atlas.base.muon)."""
    matrices = [site for site in sites if site.weight.ndim == 2]
    for site, gradient in zip(matrices, _gradients(model, [site.weight for site in matrices], sample), strict=True):
        yield stepped(site, -orthogonalise(gradient[None])[0], STEP)


def _gradients(model: Transformer, weights: Sequence[Tensor], sample: Sample) -> Sequence[Tensor]:
    """Gradients of the mean loss on a sample; the weights are left as they were, also in what they require."""
    required = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    with torch.enable_grad():
        loss = F.cross_entropy(model(sample.inputs).flatten(0, 1), sample.targets.flatten())
        found = torch.autograd.grad(loss, list(weights))
    for weight, was in zip(weights, required, strict=True):
        weight.requires_grad_(was)
    return found


def _verdict(kind: str, sentence: str, gains: Sequence[Gain], limit: float) -> Check:
    wrong = [gain for gain in gains if not (gain.mean <= limit or gain.mean <= ERRORS * gain.error)]
    listed = [f"{gain.move.name}: the loss falls by {gain.mean:.3g}, expected at most {limit:.3g}" for gain in wrong]
    most = max(gain.mean if math.isfinite(gain.mean) else math.inf for gain in gains)
    by_tensor: dict[str, float | None] = {}
    for gain in sorted(gains, key=lambda gain: gain.mean):
        by_tensor |= dict.fromkeys(gain.move.tensors, finite(gain.mean))
    return Check(
        name=kind,
        passed=not wrong,
        measured=finite(most),
        limit=limit,
        detail="; ".join(listed) or sentence,
        tensors=sorted({tensor for gain in wrong for tensor in gain.move.tensors}),
        needs="text",
        by_module=by_tensor,
    )


def _not_judged(reason: str) -> Check:
    detail = f"not judged: {reason}"
    return Check(name="wiring", passed=True, measured=None, limit=MARGIN, detail=detail, needs="text")
