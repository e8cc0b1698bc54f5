"""Moves: what a wrong map of names does to a model, done once more. A damaged model may be mended by one of them.

In a sound model none of them lowers the loss. Swapping the queries of a layer with its keys, say, makes a trained
model worse; where a loader has swapped them, it makes the model better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

ATTENTION = ("q", "k", "v", "o")
FACTORS = (0.5, 2.0)
HEADS_AT_MOST = 8  # pairs of heads grow with the square of their number
LAYERS_AT_MOST = 12
BEFORE_LAYERS = -1  # the "layer" of what comes before all layers: embeddings


@dataclass(frozen=True)
class Site:
    """A module of a layer, by role: q, k, v, o, up, down, norm. The tensors are the model's own."""

    layer: int
    role: str
    name: str  # of the weight
    weight: Tensor
    bias: Tensor | None = None


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
    before = [target.detach().clone() for target in move.targets]
    try:
        with torch.no_grad():
            for target, value in zip(move.targets, move.values(), strict=True):
                target.copy_(value)
        yield
    finally:
        with torch.no_grad():
            for target, value in zip(move.targets, before, strict=True):
                target.copy_(value)


def all_moves(sites: Sequence[Site], heads: int) -> Iterator[Move]:
    """Every move of a model whose attention has ``heads`` heads, layer by layer."""
    layers: dict[int, list[Site]] = {}
    for site in sites:
        layers.setdefault(site.layer, []).append(site)
    for inside in layers.values():
        yield from _within(inside, heads)
    if len(layers) <= LAYERS_AT_MOST:
        for first, second in combinations(layers.values(), 2):
            yield _swapped("layers", f"layers {first[0].layer} and {second[0].layer}", first, second)


def _within(inside: Sequence[Site], heads: int) -> Iterator[Move]:
    by_role = {site.role: site for site in inside}
    yield from _siblings(by_role)
    for first, second in combinations([site for site in inside if site.role == "norm"], 2):
        yield _swapped("siblings", f"{first.name} and {second.name}", [first], [second])
    for role in ("q", "v"):  # heads of k and of o move with these
        if role in by_role and 1 < heads <= HEADS_AT_MOST:
            yield from _heads(by_role[role], heads)
    for site in inside:
        if site.role in ("q", "v", "down", "norm"):  # k, o and up scale along with these
            yield from scaled(site)
    for role in ("q", "o", "down"):  # attention is even, attention is off, the feed-forward is off
        if role in by_role:
            yield silenced(by_role[role])


def _siblings(by_role: Mapping[str, Site]) -> Iterator[Move]:
    """What a layer's matrices may be taken for: each other, or themselves transposed."""
    attention = [by_role[role] for role in ATTENTION if role in by_role]
    for first, second in combinations(attention, 2):
        if first.weight.shape == second.weight.shape:
            yield _swapped("siblings", f"{first.name} and {second.name}", [first], [second])
    if {"up", "down"} <= by_role.keys() and by_role["up"].weight.T.shape == by_role["down"].weight.shape:
        yield _up_for_down(by_role["up"], by_role["down"])
    for site in attention:
        if site.weight.shape[0] == site.weight.shape[1]:
            yield _transposed(site)


def _transposed(site: Site) -> Move:
    return Move("transposed", site.name, site.layer, (site.name,), (site.weight,), lambda: (site.weight.T.clone(),))


def scaled(site: Site) -> Iterator[Move]:
    """Half and double the weight."""
    for factor in FACTORS:
        yield _times(site, factor)


def _times(site: Site, factor: float) -> Move:
    name = f"{site.name} x {factor:g}"
    return Move("scale", name, site.layer, (site.name,), (site.weight,), lambda: (site.weight * factor,))


def silenced(site: Site) -> Move:
    """Nothing comes out of a module any more."""
    targets = _tensors(site)
    return Move("load", site.name, site.layer, (site.name,), targets, lambda: tuple(map(torch.zeros_like, targets)))


def shifted(name: str, positions: Tensor) -> Iterator[Move]:
    """The rows of the positions, (positions, width), move one place on, or back."""
    yield _rolled(name, "on", positions, 1)
    yield _rolled(name, "back", positions, -1)


def _rolled(name: str, which: str, positions: Tensor, by: int) -> Move:
    targets = (positions,)
    title = f"{name}, one place {which}"
    return Move("positions", title, BEFORE_LAYERS, (name,), targets, lambda: (positions.roll(by, 0),))


def stepped(site: Site, direction: Tensor, length: float) -> Move:
    """The weight moves along a direction by a share of its own length."""
    change = direction * (length * site.weight.detach().norm() / direction.norm().clamp(min=1e-30))
    return Move("step", site.name, site.layer, (site.name,), (site.weight,), lambda: (site.weight + change,))


def _swapped(kind: str, name: str, first: Sequence[Site], second: Sequence[Site]) -> Move:
    """Whatever the first sites hold goes to the second ones, in order, and the other way round."""
    a = tuple(tensor for site in first for tensor in _tensors(site))
    b = tuple(tensor for site in second for tensor in _tensors(site))
    names = tuple(site.name for site in (*first, *second))
    layer = min(first[0].layer, second[0].layer)
    return Move(kind, name, layer, names, (*a, *b), lambda: tuple(tensor.detach().clone() for tensor in (*b, *a)))


def _up_for_down(up: Site, down: Site) -> Move:
    return Move(
        "siblings",
        f"{up.name} and {down.name}",
        up.layer,
        (up.name, down.name),
        (up.weight, down.weight),
        lambda: (down.weight.T.clone(), up.weight.T.clone()),
    )


def _heads(site: Site, heads: int) -> Iterator[Move]:
    """Two heads change places, each pair in turn."""
    targets = _tensors(site)
    for a, b in combinations(range(heads), 2):
        order = list(range(heads))
        order[a], order[b] = b, a

        def values(order: list[int] = order) -> tuple[Tensor, ...]:
            return tuple(tensor.view(heads, -1, *tensor.shape[1:])[order].flatten(0, 1) for tensor in targets)

        yield Move("heads", f"{site.name}, heads {a} and {b}", site.layer, (site.name,), targets, values)


def _tensors(site: Site) -> tuple[Tensor, ...]:
    return (site.weight,) if site.bias is None else (site.weight, site.bias)
