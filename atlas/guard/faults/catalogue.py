"""All kinds of damage: to files and names, weights that a loader misses, weights in the wrong place, wrong numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from atlas.guard.faults.kinds import (
    ATTENTION,
    NORMS,
    POSITIONS,
    ROLES,
    Damage,
    Kind,
    Patient,
    Tensors,
    biases,
    embeddings,
    layers,
    matrices,
    norms,
    of,
    pairs,
    square,
    weights_of,
    whole,
    with_earlier,
    with_other,
    wrong_names,
)


def _one(change: Callable[[Tensor, np.random.Generator], Tensor]) -> Damage:
    """Changes the one tensor that a place names."""

    def damage(to: Patient, at: str) -> None:
        to.tensors[at] = change(to.tensors[at], to.draw)

    return damage


def _drawn(change: Callable[[Tensor, Tensor], Tensor]) -> Damage:
    """Changes the one tensor that a place names, given the same of fresh weights."""

    def damage(to: Patient, at: str) -> None:
        to.tensors[at] = change(to.tensors[at], to.subject.drawn[at])

    return damage


def _named(rename: Callable[[str], str]) -> Damage:
    """Renames every tensor."""
    return _all(lambda to: {rename(name): values for name, values in to.tensors.items()})


def _broken(change: Callable[[bytes], bytes]) -> Damage:
    """Changes the file's bytes."""
    return lambda to, _at: to.broken.append(change)


def _config(key: str, change: Callable[[int], int]) -> Damage:
    """Changes a number of the config."""
    return lambda to, _at: to.config.update({key: change(to.config[key])})


def _of_layer(to: Patient, at: str, source: Tensors | None) -> None:
    """A layer's tensors come from elsewhere."""
    to.tensors |= {name: values for name, values in (source or {}).items() if f".layers.{at}." in name}


def _mis_mapped(*roles: str) -> Damage:
    """What a loader leaves that has wrong names for some roles and does not insist: they stay as drawn."""
    rename = wrong_names(roles)

    def damage(to: Patient, _at: str) -> None:
        found = {rename(name): values for name, values in to.tensors.items()}
        to.tensors = {name: found.get(name, drawn) for name, drawn in to.subject.drawn.items()}

    return damage


def _layers_from(source: Callable[[int, int, list[int]], int]) -> Damage:
    """A layer gets what another had: ``source`` says which, by its number, how many there are, and the place's two."""

    def damage(to: Patient, at: str) -> None:
        named, before = [int(layer) for layer in at.split() if layer.isdigit()], dict(to.tensors)
        for layer in range(to.subject.layers):
            origin = source(layer, to.subject.layers, named)
            for name in before:
                if f".layers.{origin}." in name:
                    to.tensors[name.replace(f".layers.{origin}.", f".layers.{layer}.")] = before[name].clone()

    return damage


def _roles_from(order: Mapping[str, str]) -> Damage:
    """In a layer each of these roles gets the weight and the bias of another."""

    def damage(to: Patient, at: str) -> None:
        before = dict(to.tensors)
        for role, source in order.items():
            for which in ("weight", "bias"):
                to.tensors[of(at, role, which)] = before[of(at, source, which)].clone()

    return damage


def _of_wrong_layer(to: Patient, at: str) -> None:
    role = str(to.draw.choice(ROLES))
    first, second = (of(layer, role) for layer in at.split())
    to.tensors[first], to.tensors[second] = to.tensors[second], to.tensors[first]


def _up_for_down(to: Patient, at: str) -> None:
    up, down = of(at, "up"), of(at, "down")
    to.tensors[up], to.tensors[down] = to.tensors[down].T, to.tensors[up].T


def _heads_rolled(to: Patient, at: str) -> None:
    values = to.tensors[at]
    to.tensors[at] = torch.roll(values.view(to.subject.heads, -1, values.shape[1]), 1, 0).flatten(0, 1)


def _norms_fresh(to: Patient, at: str) -> None:
    for norm in NORMS:
        to.tensors[of(at, norm)].fill_(1.0)
        to.tensors[of(at, norm, "bias")].zero_()


def _renamed(to: Patient, at: str) -> None:
    to.tensors[at.replace("weight", "w")] = to.tensors.pop(at)


def _twice(to: Patient, at: str) -> None:
    to.tensors[at.replace("layers.", "blocks.")] = to.tensors[at].clone()


def _all(source: Callable[[Patient], Tensors | None]) -> Damage:
    """All weights are others."""

    def damage(to: Patient, _at: str) -> None:
        to.tensors = dict(source(to) or {})

    return damage


def _half(values: Tensor, other: Tensor, dim: int) -> Tensor:
    """Values whose second half along a dimension is another's."""
    cut = values.shape[dim] // 2
    return torch.cat([values.narrow(dim, 0, cut), other.narrow(dim, cut, values.shape[dim] - cut)], dim)


def _half_zero(dim: int) -> Damage:
    return _one(lambda values, _: _half(values, torch.zeros_like(values), dim))


def _half_drawn(dim: int) -> Damage:
    return _drawn(lambda values, drawn: _half(values, drawn, dim))


def _permuted(dim: int) -> Damage:
    return _one(lambda values, draw: values.index_select(dim, torch.from_numpy(draw.permutation(values.shape[dim]))))


def _as_torch_draws(values: Tensor, draw: np.random.Generator) -> Tensor:
    bound = 1 / math.sqrt(values.shape[1])
    return torch.from_numpy(draw.uniform(-bound, bound, values.shape)).float()


def _times(factor: float) -> Damage:
    return _one(lambda values, _: values * factor)


def _noise(share: float) -> Damage:
    """Adds normal numbers of a share of the tensor's root mean square."""

    def noisy(values: Tensor, draw: np.random.Generator) -> Tensor:
        drawn = torch.from_numpy(draw.normal(size=values.shape)).float()
        return values + drawn * (share * float(values.square().mean().sqrt()))

    return _one(noisy)


def _noise_everywhere(to: Patient, _at: str) -> None:
    for name in matrices(to.subject):
        _noise(0.1)(to, name)


def _rounded(values: Tensor) -> Tensor:
    return values.bfloat16().float()


def _bits(change: Callable[[int], int]) -> Damage:
    """Changes one value, drawn at random, as its 32 bits."""

    def changed(values: Tensor, draw: np.random.Generator) -> Tensor:
        bits = values.view(-1).numpy().view(np.uint32)
        place = int(draw.integers(len(bits)))
        bits[place] = change(int(bits[place]))
        return values

    return _one(changed)


def _units_permuted(to: Patient, at: str) -> None:
    order = to.draw.permutation(len(to.tensors[of(at, "up")]))
    for name in (of(at, "up"), of(at, "up", "bias")):
        to.tensors[name] = to.tensors[name][order]
    to.tensors[of(at, "down")] = to.tensors[of(at, "down")][:, order]


def _heads_permuted(to: Patient, at: str) -> None:
    width = len(to.tensors[of(at, "q")])
    order = np.roll(np.arange(width).reshape(to.subject.heads, -1), 1, 0).reshape(-1)
    for role in ("q", "k", "v"):
        for which in ("weight", "bias"):
            to.tensors[of(at, role, which)] = to.tensors[of(at, role, which)][order]
    to.tensors[of(at, "o")] = to.tensors[of(at, "o")][:, order]


def _traded(grown: str, shrunk: str, *shrunk_too: str) -> Damage:
    """One role grows fourfold, bias and all, and another's weight (and what else is named of it) shrinks as much."""

    def damage(to: Patient, at: str) -> None:
        for which in ("weight", "bias"):
            _times(4.0)(to, of(at, grown, which))
        for which in ("weight", *shrunk_too):
            _times(0.25)(to, of(at, shrunk, which))

    return damage


def _norms_exchanged(to: Patient, at: str) -> None:
    for which in ("weight", "bias"):
        first, second = (of(at, norm, which) for norm in NORMS)
        to.tensors[first], to.tensors[second] = to.tensors[second], to.tensors[first]


zero = _one(lambda values, _: torch.zeros_like(values))
all_rounded = _all(lambda to: {name: _rounded(values) for name, values in to.tensors.items()})
raised = _one(lambda values, _: values + 0.1)
as_drawn = _drawn(lambda _, drawn: drawn)
at_trained_size = _drawn(lambda values, drawn: drawn * values.norm() / drawn.norm())
exchanged = _layers_from(lambda layer, _, two: two[1 - two.index(layer)] if layer in two else layer)

KINDS: tuple[Kind, ...] = (
    Kind("misplaced", "two layers exchanged", pairs, exchanged),
    Kind("misplaced", "layers shifted by one", whole, _layers_from(lambda layer, count, _: (layer + 1) % count)),
    Kind("misplaced", "a layer twice", pairs, _layers_from(lambda layer, _, two: two[0] if layer == two[1] else layer)),
    Kind("misplaced", "a matrix of the wrong layer", pairs, _of_wrong_layer),
    Kind("misplaced", "q and k exchanged", layers, _roles_from({"q": "k", "k": "q"})),
    Kind("misplaced", "q and v exchanged", layers, _roles_from({"q": "v", "v": "q"})),
    Kind("misplaced", "k and v exchanged", layers, _roles_from({"k": "v", "v": "k"})),
    Kind("misplaced", "q, k, v rotated", layers, _roles_from({"q": "k", "k": "v", "v": "q"})),
    Kind("misplaced", "v and o exchanged", layers, _roles_from({"v": "o", "o": "v"})),
    Kind("misplaced", "up and down exchanged, transposed", layers, _up_for_down),
    Kind("misplaced", "a layer's norms exchanged", layers, _norms_exchanged),
    Kind("misplaced", "transposed", square, _one(lambda values, _: values.T)),
    Kind("permuted", "outputs of a matrix", matrices, _permuted(0)),
    Kind("permuted", "inputs of a matrix", matrices, _permuted(1)),
    Kind("permuted", "heads of a matrix", weights_of("q", "k", "v"), _heads_rolled),
    Kind("permuted", "a norm's weight", norms, _permuted(0)),
    Kind("permuted", "symbols or positions", embeddings, _permuted(0)),
    Kind("permuted", "positions off by one", lambda _: [POSITIONS], _one(lambda values, _: torch.roll(values, 1, 0))),
    Kind("other weights", "earlier step", with_earlier, _all(lambda to: to.subject.earlier), unknowable=True),
    Kind("other weights", "other seed", with_other(whole), _all(lambda to: to.subject.other), unknowable=True),
    Kind(
        "other weights",
        "one matrix of another seed",
        with_other(matrices),
        lambda to, at: to.tensors.update({at: (to.subject.other or {})[at]}),
    ),
    Kind(
        "other weights",
        "one layer of another seed",
        with_other(layers),
        lambda to, at: _of_layer(to, at, to.subject.other),
    ),
    Kind("names", "key renamed", matrices, _renamed),
    Kind("names", "prefix module.", whole, _named(lambda name: f"module.{name}")),
    Kind("names", "prefix _orig_mod.", whole, _named(lambda name: f"_orig_mod.{name}")),
    Kind("names", "prefix lost", whole, _named(lambda name: name.removeprefix("model."))),
    Kind("names", "key dropped", matrices, lambda to, at: to.tensors.pop(at)),
    Kind("names", "key twice, once wrongly", matrices, _twice),
    Kind("file", "half the outputs cut off", matrices, _one(lambda values, _: values[: len(values) // 2].clone())),
    Kind("file", "half precision", matrices, _one(lambda values, _: values.half())),
    Kind("file", "truncated", whole, _broken(lambda raw: raw[: len(raw) * 9 // 10])),
    Kind("file", "wrong header", whole, _broken(lambda raw: (len(raw) * 2).to_bytes(8, "little") + raw[8:])),
    Kind("file", "empty", whole, _broken(lambda _: b"")),
    Kind("config", "other number of heads", whole, _config("num_attention_heads", lambda heads: heads * 2)),
    Kind("config", "one layer fewer", whole, _config("num_hidden_layers", lambda count: count - 1)),
    Kind("config", "other feed-forward width", whole, _config("ffn_dim", lambda width: width // 2)),
    Kind("left at init", "feed-forward, by a mis-mapped loader", whole, _mis_mapped("up", "down")),
    Kind("left at init", "attention, by a mis-mapped loader", whole, _mis_mapped(*ATTENTION)),
    Kind(
        "left at init", "one role, by a mis-mapped loader", lambda _: [*ROLES], lambda to, at: _mis_mapped(at)(to, at)
    ),
    Kind("left at init", "one layer", layers, lambda to, at: _of_layer(to, at, to.subject.drawn)),
    Kind("left at init", "one matrix", matrices, as_drawn),
    Kind("left at init", "one matrix, at the size of its trained self", matrices, at_trained_size),
    Kind("left at init", "one matrix, as torch draws it", matrices, _one(_as_torch_draws)),
    Kind("left at init", "half a matrix's outputs", matrices, _half_drawn(0)),
    Kind("left at init", "half a matrix's inputs", matrices, _half_drawn(1)),
    Kind("left at init", "one bias", biases, zero),
    Kind("left at init", "a layer's norms", layers, _norms_fresh),
    Kind("left at init", "embeddings", embeddings, as_drawn),
    Kind("left at init", "everything", whole, _all(lambda to: to.subject.drawn)),
    Kind("missing", "half the outputs zero", matrices, _half_zero(0)),
    Kind("missing", "half the inputs zero", matrices, _half_zero(1)),
    Kind("missing", "a matrix zero", matrices, zero),
    Kind("missing", "a norm's weight zero", norms, zero),
    Kind("scaled", "a matrix, by 0.5", matrices, _times(0.5)),
    Kind("scaled", "a matrix, by 2", matrices, _times(2.0)),
    Kind("scaled", "a matrix, by -1", matrices, _times(-1.0)),
    Kind("scaled", "a norm's weight, by 2", norms, _times(2.0)),
    Kind("scaled", "a bias, by 2", biases, _times(2.0)),
    Kind("scaled", "embeddings, by 0.5", embeddings, _times(0.5)),
    Kind("noise", "1% on a matrix", matrices, _noise(0.01), unknowable=True),
    Kind("noise", "10% on a matrix", matrices, _noise(0.1)),
    Kind("noise", "50% on a matrix", matrices, _noise(0.5)),
    Kind("noise", "10% on all matrices", whole, _noise_everywhere),
    Kind("noise", "10% on the embeddings", embeddings, _noise(0.1)),
    Kind("rounding", "all to bfloat16 and back", whole, all_rounded, unknowable=True),
    Kind("rounding", "a matrix to bfloat16 and back", matrices, _one(lambda values, _: _rounded(values))),
    Kind("bits", "one NaN", matrices, _bits(lambda _: 0x7FC00000)),
    Kind("bits", "one infinity", matrices, _bits(lambda _: 0x7F800000)),
    Kind("bits", "lowest bit of one value", matrices, _bits(lambda bits: bits ^ 1), unknowable=True),
    Kind("bits", "sign of one value", matrices, _bits(lambda bits: bits ^ 0x80000000), unknowable=True),
    Kind("bits", "highest bit of one exponent", matrices, _bits(lambda bits: bits ^ 0x40000000)),
    Kind("harmless", "hidden units permuted, up and down alike", layers, _units_permuted, harmless=True),
    Kind("harmless", "heads permuted, q, k, v and o alike", layers, _heads_permuted, harmless=True),
    Kind("harmless", "k's bias changed", weights_of("k", which="bias"), raised, harmless=True),
    Kind("harmless", "q times 4, k over 4", layers, _traded("q", "k", "bias"), harmless=True),
    Kind("harmless", "v times 4, o over 4", layers, _traded("v", "o"), harmless=True),
    Kind("harmless", "up times 4, down over 4", layers, _traded("up", "down"), harmless=True),  # ReLU lets it through
)
