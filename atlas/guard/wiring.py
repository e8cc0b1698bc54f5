"""Functional checks: on a little text, no move of a model's modules makes the model better.

A move is what a wrong map of names does to a model, done once more. Swapping the queries of a layer with its keys, say,
makes a trained model worse; where a loader has swapped them, it makes the model better. A sound model is at a local
optimum of such moves; a damaged one is mended by the move that undoes the damage, or does better without the damaged
module. Both losses of a move are taken on the same tokens, so their difference is exact to
rounding, and its standard error is that of paired differences. A move that gains anything at a first look is held
against other text, and only that second look decides: chance alone would need three standard errors there.

A model that has learnt little has not reached an optimum. The limit is therefore wider for one that predicts worse
than the frequencies of pairs of tokens do (Shannon, "Prediction and entropy of printed English", 1951).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.guard.report import Check
from atlas.guard.tensors import WeightPart
from atlas.guard.weight_checks import finite

ATTENTION = ("q", "k", "v", "o")
FACTORS = (0.5, 2.0)
HEADS_AT_MOST = 8  # pairs of heads grow with the square of their number
LAYERS_AT_MOST = 12
BEFORE_LAYERS = -1  # the "layer" of what comes before all layers: embeddings

FIRST_LOOK, SECOND_LOOK, FITTED = 512, 4096, 2048  # tokens of text
FEWEST = 20_000  # tokens that the text must have: the gradient's lie far from those that its steps are held against
SUSPECTS = 3  # moves of a kind that are looked at twice
ERRORS = 3.0  # standard errors that a gain must exceed
MARGIN = 0.01  # nats a token that a move may gain; honest models gain at most 0.002
STEP_MARGIN = 0.03  # the same for a step; honest models in the midst of their training gain up to 0.018
SLACK = 0.1  # share of what the model lacks against pair frequencies that a move may gain on top
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
class LayerModule:
    """A module of a layer, by role: q, k, v, o, up, down, norm. The tensors are the model's own."""

    layer: int
    role: str
    name: str  # of the weight
    weight: Tensor
    bias: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@dataclass(frozen=True)
class Move:
    """New values for some tensors of a model, worked out from the present ones when asked for."""

    kind: str
    name: str
    layer: int  # the first that it touches
    tensors: tuple[str, ...]
    targets: tuple[Tensor, ...]
    values: Callable[[], tuple[Tensor, ...]]


class MultiHead(Protocol):
    """An attention module whose matrices are cut into so many heads when it runs."""

    heads: int


@dataclass(frozen=True)
class Anatomy:
    """A language model taken apart, so that single modules can be moved and run. Tensors are the model's own."""

    embed: Callable[[Tensor], Tensor]  # tokens, int64 (windows, context), to the first layer's input, (.., width)
    layers: Sequence[Callable[[Tensor], Tensor]]
    logits: Callable[[Tensor], Tensor]  # of the last layer's output
    modules: Sequence[LayerModule]  # those of all layers
    positions: LayerModule  # the rows that are used, (context, width)
    attentions: Sequence[MultiHead]
    descent: Callable[[Tensor], Tensor]  # of a matrix's gradient the direction of a step of its optimiser


@dataclass(frozen=True)
class TextSample:
    """Windows of text: each of ``inputs`` predicts the token of ``targets``; int64, (windows, context)."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Gain:
    """How much a move lowers the loss, in nats a token, and the standard error of that."""

    move: Move
    mean: float
    error: float

    @classmethod
    def of(cls, move: Move, saved: Tensor) -> Gain:
        """``saved``: by how much the loss of each token falls, (tokens,)."""
        return cls(move, float(saved.mean()), float(saved.std()) / math.sqrt(len(saved)))


class LossMeter(Protocol):
    """What measures the losses of a model that may be changed meanwhile."""

    def losses(self, layer: int = ..., /) -> Tensor:
        """Losses, float32, given that nothing before ``layer`` has changed; without one those of the whole model."""


class LossProbe:
    """Losses of one model on one sample of text, computed anew only from the layer that changed on.

    The model may be changed between calls, as long as all that comes before the layer asked for is what it was when
    the probe was made.
    """

    def __init__(self, model: Anatomy, sample: TextSample) -> None:
        self.model, self.sample = model, sample
        with torch.no_grad():
            hidden = model.embed(sample.inputs)
            self._before = []  # the input of each layer, (windows, context, width)
            for layer in model.layers:
                self._before.append(hidden)
                hidden = layer(hidden)

    @torch.no_grad()
    def losses(self, layer: int = BEFORE_LAYERS) -> Tensor:
        """Nats a token, float32, (tokens,), given that nothing before ``layer`` has changed."""
        hidden = self.model.embed(self.sample.inputs) if layer == BEFORE_LAYERS else self._before[layer]
        for changed in self.model.layers[max(layer, 0) :]:
            hidden = changed(hidden)
        logits = self.model.logits(hidden)
        return F.cross_entropy(logits.flatten(0, 1), self.sample.targets.flatten(), reduction="none")


def modules_of(model: nn.Module, parts: Iterable[WeightPart]) -> list[LayerModule]:
    """The modules of a model's layers, by role, the norms, too; ``parts`` have the names of its parameters."""
    parameters = dict(model.named_parameters())
    found = []
    for part in parts:
        role = "norm" if part.kind == "norm weight" else part.role
        if part.kind in ("matrix", "norm weight") and part.layer is not None and role:
            bias = parameters.get(part.tensor.removesuffix("weight") + "bias")
            found.append(LayerModule(part.layer, role, part.tensor, parameters[part.tensor], bias))
    return found


def functional(model: Anatomy, tokens: np.ndarray) -> Iterator[Check]:
    """Every functional check of a model on text that it has not been trained on: tokens, uint8, (tokens,)."""
    context, heads = len(model.positions.weight), model.attentions[0].heads
    if len(tokens) < max(FEWEST, 20 * context):
        detail = f"not judged: the text has {len(tokens)} characters, {max(FEWEST, 20 * context)} are needed"
        yield Check("wiring", True, None, MARGIN, detail, needs="text")
        return
    first, second = samples(tokens, context, FIRST_LOOK, SECOND_LOOK)
    (fitted,) = samples(tokens[-FITTED - context :], context, FITTED)
    looks = LossProbe(model, first), LossProbe(model, second)
    loss = float(looks[1].losses().mean())
    letters, pairs = entropies(tokens)
    sentence = "loss on a sample of the text, nats/char, against the entropy of its letters"
    yield Check("predicts", loss < letters, finite(loss), letters, sentence, needs="text")
    slack = SLACK * max(0.0, loss - pairs) if math.isfinite(loss) else 0.0
    moves = [*all_moves(model.modules, heads), *shifted(model.positions), *_steps(model, fitted)]
    for kind, sentence in SENTENCES.items():
        gains = gained([move for move in moves if move.kind == kind], *looks)
        gains += _recut(model, looks[1]) if kind == "heads" else []
        if gains:
            yield verdict(kind, sentence, gains, slack + (STEP_MARGIN if kind == "step" else MARGIN))


def samples(tokens: np.ndarray, context: int, *sizes: int) -> list[TextSample]:
    """Samples of about ``sizes`` tokens, one after the other, from tokens, uint8, (tokens,)."""
    found, at = [], 0
    for size in sizes:
        count = max(size // context, 1)
        part = torch.from_numpy(tokens[at : at + count * context + 1].astype(np.int64))
        found.append(TextSample(part[:-1].view(count, context), part[1:].view(count, context)))
        at += count * context
    return found


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


def gained(moves: Sequence[Move], first: LossMeter, second: LossMeter) -> list[Gain]:
    """What each move gains: by the first look, but by the second one where the first is suspicious.

    A gain that the second look has not confirmed, because others of its kind were larger, counts as none.
    """
    gains = _look(moves, first)
    suspects = sorted((gain for gain in gains if not gain.mean <= 0), key=lambda gain: -gain.mean)[:SUSPECTS]
    names = {gain.move.name for gain in suspects}
    rest = [Gain(gain.move, min(gain.mean, 0.0), gain.error) for gain in gains if gain.move.name not in names]
    return _look([gain.move for gain in suspects], second) + rest


def _look(moves: Iterable[Move], probe: LossMeter) -> list[Gain]:
    before, found = probe.losses(), []
    for move in moves:
        with moved(move):
            found.append(Gain.of(move, before - probe.losses(move.layer)))
    return found


def _recut(model: Anatomy, probe: LossProbe) -> list[Gain]:
    """What it gains to cut the same matrices into half or twice as many heads, as a wrong config does."""
    width, heads, before = model.positions.weight.shape[1], model.attentions[0].heads, probe.losses()
    gains = []
    try:
        for count in (count for count in (heads // 2, heads * 2) if count and width % count == 0):
            for attention in model.attentions:
                attention.heads = count
            saved = before - probe.losses(0)
            gains.append(Gain.of(Move("heads", f"{count} heads", 0, (), (), tuple), saved))
    finally:
        for attention in model.attentions:
            attention.heads = heads
    return gains


def _steps(model: Anatomy, sample: TextSample) -> list[Move]:
    """Steps of single matrices down the gradient of the mean loss on a sample, as their optimiser makes them.

    The weights are left as they were, also in what they require.
    """
    matrices = [module for module in model.modules if module.weight.ndim == 2]
    required = [module.weight.requires_grad for module in matrices]
    for module in matrices:
        module.weight.requires_grad_(True)
    with torch.enable_grad():
        hidden = model.embed(sample.inputs)
        for layer in model.layers:
            hidden = layer(hidden)
        loss = F.cross_entropy(model.logits(hidden).flatten(0, 1), sample.targets.flatten())
        gradients = torch.autograd.grad(loss, [module.weight for module in matrices])
    for module, was in zip(matrices, required, strict=True):
        module.weight.requires_grad_(was)
    found = zip(matrices, gradients, strict=True)
    return [stepped(module, model.descent(gradient), STEP) for module, gradient in found]


def verdict(kind: str, sentence: str, gains: Sequence[Gain], limit: float) -> Check:
    """The check of one kind of moves: none may gain more than the limit, unless chance may."""
    wrong = [gain for gain in gains if not (gain.mean <= limit or gain.mean <= ERRORS * gain.error)]
    listed = [f"{gain.move.name}: the loss falls by {gain.mean:.3g}, expected at most {limit:.3g}" for gain in wrong]
    most = max(gain.mean if math.isfinite(gain.mean) else math.inf for gain in gains)
    by_tensor: dict[str, float | None] = {}
    for gain in sorted(gains, key=lambda gain: gain.mean):
        by_tensor |= dict.fromkeys(gain.move.tensors, finite(gain.mean))
    tensors = sorted({tensor.partition("[")[0] for gain in wrong for tensor in gain.move.tensors})
    return Check(kind, not wrong, finite(most), limit, "; ".join(listed) or sentence, tensors, "text", by_tensor)


@contextmanager
def moved(move: Move) -> Iterator[None]:
    """Make a move within a block; afterwards every tensor is what it was, bit by bit."""
    with torch.no_grad():
        before, after = [target.clone() for target in move.targets], move.values()
    try:
        _fill(move.targets, after)
        yield
    finally:
        _fill(move.targets, before)


@torch.no_grad()
def _fill(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)


def all_moves(modules: Sequence[LayerModule], heads: int) -> Iterator[Move]:
    """Every move of a model whose attention has ``heads`` heads, layer by layer."""
    layers: dict[int, list[LayerModule]] = {}
    for module in modules:
        layers.setdefault(module.layer, []).append(module)
    for inside in layers.values():
        yield from _within(inside, heads)
    if len(layers) <= LAYERS_AT_MOST:
        for first, second in combinations(layers.values(), 2):
            yield swapped("layers", f"layers {first[0].layer} and {second[0].layer}", first, second)


def _within(inside: Sequence[LayerModule], heads: int) -> Iterator[Move]:
    by_role = {module.role: module for module in inside}
    yield from _siblings(by_role)
    for first, second in combinations([module for module in inside if module.role == "norm"], 2):
        yield swapped("siblings", f"{first.name} and {second.name}", [first], [second])
    for role in ("q", "v"):  # heads of k and of o move with these
        if role in by_role and 1 < heads <= HEADS_AT_MOST:
            for a, b in combinations(range(heads), 2):
                title = f"{by_role[role].name}, heads {a} and {b}"
                yield changed("heads", title, by_role[role], partial(_heads_swapped, heads=heads, a=a, b=b), bias=True)
    for module in inside:
        if module.role in ("q", "v", "down", "norm"):  # k, o and up scale along with these
            for factor in FACTORS:
                yield changed("scale", f"{module.name} x {factor:g}", module, partial(torch.mul, other=factor))
    for role in ("q", "o", "down"):  # attention is even, attention is off, the feed-forward is off
        if role in by_role:
            yield changed("load", by_role[role].name, by_role[role], torch.zeros_like, bias=True)


def _siblings(by_role: Mapping[str, LayerModule]) -> Iterator[Move]:
    """What a layer's matrices may be taken for: each other, or themselves transposed."""
    attention = [by_role[role] for role in ATTENTION if role in by_role]
    for first, second in combinations(attention, 2):
        if first.weight.shape == second.weight.shape:
            yield swapped("siblings", f"{first.name} and {second.name}", [first], [second])
    if {"up", "down"} <= by_role.keys() and by_role["up"].weight.T.shape == by_role["down"].weight.shape:
        up, down = by_role["up"], by_role["down"]
        names, weights = (up.name, down.name), (up.weight, down.weight)
        title = f"{up.name} and {down.name}"
        yield Move("siblings", title, up.layer, names, weights, lambda: (down.weight.T.clone(), up.weight.T.clone()))
    for module in attention:
        if module.weight.shape[0] == module.weight.shape[1]:
            yield changed("transposed", module.name, module, lambda weight: weight.T.clone())


def shifted(positions: LayerModule) -> Iterator[Move]:
    """The rows of the positions, (positions, width), move one place on, or back."""
    for which, by in (("on", 1), ("back", -1)):
        title = f"{positions.name}, one place {which}"
        yield changed("positions", title, positions, partial(torch.roll, shifts=by, dims=0))


def stepped(module: LayerModule, direction: Tensor, length: float) -> Move:
    """The weight moves along a direction by a share of its own length."""
    change = direction * (length * module.weight.detach().norm() / direction.norm().clamp(min=1e-30))
    return changed("step", module.name, module, lambda weight: weight + change)


def changed(kind: str, title: str, module: LayerModule, change: Callable[[Tensor], Tensor], bias: bool = False) -> Move:
    """A change of one module's weight, or of its weight and its bias."""
    targets = module.tensors if bias else (module.weight,)
    return Move(kind, title, module.layer, (module.name,), targets, lambda: tuple(map(change, targets)))


def swapped(kind: str, title: str, first: Sequence[LayerModule], second: Sequence[LayerModule]) -> Move:
    """Whatever the first modules hold goes to the second ones, in order, and the other way round."""
    a = tuple(tensor for module in first for tensor in module.tensors)
    b = tuple(tensor for module in second for tensor in module.tensors)
    names = tuple(module.name for module in (*first, *second))
    layer, targets = min(first[0].layer, second[0].layer), (*a, *b)

    def values() -> tuple[Tensor, ...]:
        """Views of fused tensors may be of another shape; their numbers are in the same order."""
        sources = zip((*b, *a), targets, strict=True)
        return tuple(source.detach().reshape(target.shape).clone() for source, target in sources)

    return Move(kind, title, layer, names, targets, values)


def _heads_swapped(tensor: Tensor, heads: int, a: int, b: int) -> Tensor:
    order = list(range(heads))
    order[a], order[b] = b, a
    return tensor.view(heads, -1, *tensor.shape[1:])[order].flatten(0, 1)
