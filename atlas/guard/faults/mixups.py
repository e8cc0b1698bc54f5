"""Weights in the wrong place, and weights of another checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from atlas.guard.faults.kinds import (
    ATTENTION,
    EMBEDDING,
    NORMS,
    POSITIONS,
    Patient,
    kind,
    layers,
    matrices,
    norms,
    of,
    pairs,
    square,
    whole,
    with_earlier,
    with_other,
)


def _exchange(to: Patient, first: str, second: str) -> None:
    to.tensors[first], to.tensors[second] = to.tensors[second], to.tensors[first]


def _layers_from(to: Patient, order: Sequence[int]) -> None:
    """Layer i gets what layer ``order[i]`` had."""
    before = dict(to.tensors)
    for at, source in enumerate(order):
        for name in before:
            if f".layers.{source}." in name:
                to.tensors[name.replace(f".layers.{source}.", f".layers.{at}.")] = before[name].clone()


def _roles_from(to: Patient, at: str, order: dict[str, str]) -> None:
    """In layer ``at`` each role gets the weight and bias of another."""
    before = dict(to.tensors)
    for role, source in order.items():
        for which in ("weight", "bias"):
            to.tensors[of(at, role, which)] = before[of(at, source, which)].clone()


@kind("misplaced", "two layers exchanged", pairs)
def _two_layers(to: Patient, at: str) -> None:
    first, second = map(int, at.split())
    order = list(range(to.subject.layers))
    order[first], order[second] = second, first
    _layers_from(to, order)


@kind("misplaced", "layers shifted by one", whole)
def _shifted(to: Patient, _at: str) -> None:
    count = to.subject.layers
    _layers_from(to, [(layer + 1) % count for layer in range(count)])


@kind("misplaced", "a layer twice", pairs)
def _layer_twice(to: Patient, at: str) -> None:
    first, second = map(int, at.split())
    order = list(range(to.subject.layers))
    order[second] = first
    _layers_from(to, order)


@kind("misplaced", "a matrix of the wrong layer", pairs)
def _one_of_two_layers(to: Patient, at: str) -> None:
    role = str(to.draw.choice([*ATTENTION, "up", "down"]))
    first, second = at.split()
    _exchange(to, of(first, role), of(second, role))


@kind("misplaced", "q and k exchanged", layers)
def _q_k(to: Patient, at: str) -> None:
    _roles_from(to, at, {"q": "k", "k": "q"})


@kind("misplaced", "q and v exchanged", layers)
def _q_v(to: Patient, at: str) -> None:
    _roles_from(to, at, {"q": "v", "v": "q"})


@kind("misplaced", "k and v exchanged", layers)
def _k_v(to: Patient, at: str) -> None:
    _roles_from(to, at, {"k": "v", "v": "k"})


@kind("misplaced", "q, k, v rotated", layers)
def _rotated(to: Patient, at: str) -> None:
    _roles_from(to, at, {"q": "k", "k": "v", "v": "q"})


@kind("misplaced", "v and o exchanged", layers)
def _v_o(to: Patient, at: str) -> None:
    _roles_from(to, at, {"v": "o", "o": "v"})


@kind("misplaced", "up and down exchanged, transposed", layers)
def _up_down(to: Patient, at: str) -> None:
    up, down = of(at, "up"), of(at, "down")
    to.tensors[up], to.tensors[down] = to.tensors[down].T, to.tensors[up].T


@kind("misplaced", "a layer's norms exchanged", layers)
def _norms_exchanged(to: Patient, at: str) -> None:
    for which in ("weight", "bias"):
        _exchange(to, of(at, NORMS[0], which), of(at, NORMS[1], which))


@kind("misplaced", "transposed", square)
def _transposed(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at].T


@kind("permuted", "outputs of a matrix", matrices)
def _rows(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at][to.draw.permutation(len(to.tensors[at]))]


@kind("permuted", "inputs of a matrix", matrices)
def _columns(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at][:, to.draw.permutation(to.tensors[at].shape[1])]


@kind("permuted", "heads of a matrix", lambda subject: [name for name in square(subject) if "out_proj" not in name])
def _heads(to: Patient, at: str) -> None:
    heads = to.subject.heads
    to.tensors[at] = torch.roll(to.tensors[at].view(heads, -1, to.tensors[at].shape[1]), 1, 0).flatten(0, 1)


@kind("permuted", "a norm's weight", norms)
def _norm(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at][to.draw.permutation(len(to.tensors[at]))]


@kind("permuted", "symbols or positions", lambda _: [EMBEDDING, POSITIONS])
def _embedding(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at][to.draw.permutation(len(to.tensors[at]))]


@kind("permuted", "positions off by one", lambda _: [POSITIONS])
def _off_by_one(to: Patient, at: str) -> None:
    to.tensors[at] = torch.roll(to.tensors[at], 1, 0)


@kind("other weights", "earlier step", with_earlier, unknowable=True)
def _stale(to: Patient, _at: str) -> None:
    to.tensors = dict(to.subject.earlier or {})


@kind("other weights", "other seed", with_other(whole), unknowable=True)
def _other(to: Patient, _at: str) -> None:
    to.tensors = dict(to.subject.other or {})


@kind("other weights", "one matrix of another seed", with_other(matrices))
def _other_matrix(to: Patient, at: str) -> None:
    to.tensors[at] = (to.subject.other or {})[at]


@kind("other weights", "one layer of another seed", with_other(layers))
def _other_layer(to: Patient, at: str) -> None:
    to.tensors |= {name: values for name, values in (to.subject.other or {}).items() if f".layers.{at}." in name}
