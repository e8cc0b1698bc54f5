"""Moves: what a wrong map of names does to a model, done once more. A damaged model may be mended by one of them.

In a sound model none of them lowers the loss. Swapping the queries of a layer with its keys, say, makes a trained
model worse; where a loader has swapped them, it makes the model better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import torch
from torch import Tensor

ATTENTION = ("q", "k", "v", "o")
FACTORS = (0.5, 2.0)
HEADS_AT_MOST = 8  # pairs of heads grow with the square of their number
LAYERS_AT_MOST = 12
BEFORE_LAYERS = -1  # the "layer" of what comes before all layers: embeddings


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
            yield _swapped("layers", f"layers {first[0].layer} and {second[0].layer}", first, second)


def _within(inside: Sequence[LayerModule], heads: int) -> Iterator[Move]:
    by_role = {module.role: module for module in inside}
    yield from _siblings(by_role)
    for first, second in combinations([module for module in inside if module.role == "norm"], 2):
        yield _swapped("siblings", f"{first.name} and {second.name}", [first], [second])
    for role in ("q", "v"):  # heads of k and of o move with these
        if role in by_role and 1 < heads <= HEADS_AT_MOST:
            for a, b in combinations(range(heads), 2):
                title = f"{by_role[role].name}, heads {a} and {b}"
                yield _changed("heads", title, by_role[role], partial(_heads_swapped, heads=heads, a=a, b=b), bias=True)
    for module in inside:
        if module.role in ("q", "v", "down", "norm"):  # k, o and up scale along with these
            for factor in FACTORS:
                yield _changed("scale", f"{module.name} x {factor:g}", module, partial(torch.mul, other=factor))
    for role in ("q", "o", "down"):  # attention is even, attention is off, the feed-forward is off
        if role in by_role:
            yield _changed("load", by_role[role].name, by_role[role], torch.zeros_like, bias=True)


def _siblings(by_role: Mapping[str, LayerModule]) -> Iterator[Move]:
    """What a layer's matrices may be taken for: each other, or themselves transposed."""
    attention = [by_role[role] for role in ATTENTION if role in by_role]
    for first, second in combinations(attention, 2):
        if first.weight.shape == second.weight.shape:
            yield _swapped("siblings", f"{first.name} and {second.name}", [first], [second])
    if {"up", "down"} <= by_role.keys() and by_role["up"].weight.T.shape == by_role["down"].weight.shape:
        up, down = by_role["up"], by_role["down"]
        yield Move(
            "siblings",
            f"{up.name} and {down.name}",
            up.layer,
            (up.name, down.name),
            (up.weight, down.weight),
            lambda: (down.weight.T.clone(), up.weight.T.clone()),
        )
    for module in attention:
        if module.weight.shape[0] == module.weight.shape[1]:
            yield _changed("transposed", module.name, module, lambda weight: weight.T.clone())


def shifted(positions: LayerModule) -> Iterator[Move]:
    """The rows of the positions, (positions, width), move one place on, or back."""
    for which, by in (("on", 1), ("back", -1)):
        title = f"{positions.name}, one place {which}"
        yield _changed("positions", title, positions, partial(torch.roll, shifts=by, dims=0))


def stepped(module: LayerModule, direction: Tensor, length: float) -> Move:
    """The weight moves along a direction by a share of its own length."""
    change = direction * (length * module.weight.detach().norm() / direction.norm().clamp(min=1e-30))
    return _changed("step", module.name, module, lambda weight: weight + change)


def _changed(
    kind: str, title: str, module: LayerModule, change: Callable[[Tensor], Tensor], bias: bool = False
) -> Move:
    """A change of one module's weight, or of its weight and its bias."""
    targets = module.tensors if bias else (module.weight,)
    return Move(kind, title, module.layer, (module.name,), targets, lambda: tuple(map(change, targets)))


def _swapped(kind: str, title: str, first: Sequence[LayerModule], second: Sequence[LayerModule]) -> Move:
    """Whatever the first modules hold goes to the second ones, in order, and the other way round."""
    a = tuple(tensor for module in first for tensor in module.tensors)
    b = tuple(tensor for module in second for tensor in module.tensors)
    names = tuple(module.name for module in (*first, *second))
    layer = min(first[0].layer, second[0].layer)
    return Move(kind, title, layer, names, (*a, *b), lambda: tuple(tensor.detach().clone() for tensor in (*b, *a)))


def _heads_swapped(tensor: Tensor, heads: int, a: int, b: int) -> Tensor:
    order = list(range(heads))
    order[a], order[b] = b, a
    return tensor.view(heads, -1, *tensor.shape[1:])[order].flatten(0, 1)
