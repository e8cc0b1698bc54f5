"""Kinds of damage to models of all architectures: what converters and loaders do wrong, by role and layer.

A place is a layer's number, a layer and a role (``2 q``), two layers (``0 2``), or ``all``. Whatever an architecture
does not have (a gate, rotary positions, a head of its own) has no places in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from atlas.guard.blueprints import Blueprint, TensorSpec, blueprint
from atlas.guard.faults.kinds import Damage, Kind, Patient, Places, Subject

ATTENTION = ("q", "k", "v", "o")
ROLES = (*ATTENTION, "up", "gate", "down")
HEADS = {"num_attention_heads": ("num_attention_heads", "n_head"), "num_key_value_heads": ("num_key_value_heads",)}
ROTARY = {"gpt_neox", "llama", "mistral", "qwen2", "qwen3"}
ACTIVATIONS = ("activation_function", "hidden_act")


def plan(subject: Subject) -> Blueprint:
    """What tensors a subject has."""
    return blueprint(subject.config, "subject")


def specs(subject: Subject) -> list[TensorSpec]:
    """A subject's tensors, an untied head included."""
    found = plan(subject)
    return [*found.specs] if found.tied else [*found.specs, found.head]


def depth(subject: Subject) -> int:
    """How many layers a subject has."""
    return 1 + max(spec.layer for spec in specs(subject) if spec.layer is not None)


def heads(subject: Subject, role: str) -> int:
    """How many heads a subject's queries have, or its keys and values."""
    config = subject.config
    count = int(config.get("num_attention_heads") or config["n_head"])
    return int(config.get("num_key_value_heads") or count) if role in ("k", "v") else count


def shares(to: Patient, role: str, layer: int | None = None, which: str = "weight") -> list[Tensor]:
    """A role's share of its tensor in a layer, or in all, to be changed in place: (out, in), or (heads, size, in)."""
    found = []
    for spec in specs(to.subject):
        if (layer is None or spec.layer == layer) and spec.name.endswith(f".{which}"):
            if spec.role == role:
                found.append(_turned(to.tensors[spec.name], spec))
            elif role in spec.fused:
                values, at = _turned(to.tensors[spec.name], spec), spec.fused.index(role)
                size = len(values) // (spec.heads * len(spec.fused))
                cut = values.view(spec.heads, len(spec.fused), size, *values.shape[1:]).select(1, at)
                found.append(cut if spec.heads > 1 else cut[0])
    return found


def _turned(tensor: Tensor, spec: TensorSpec) -> Tensor:
    return tensor.T if spec.transposed and tensor.ndim == 2 else tensor


def norms(subject: Subject, layer: int | None = None) -> list[str]:
    """Names of the weights of norms, of a layer or of all."""
    found = [spec for spec in specs(subject) if spec.kind == "norm weight"]
    return [spec.name for spec in found if layer is None or spec.layer == layer]


def whole(_subject: Subject) -> list[str]:
    """The model as a whole."""
    return ["all"]


def layers(subject: Subject) -> list[str]:
    """Layers by number."""
    return [str(layer) for layer in range(depth(subject))]


def pairs(subject: Subject) -> list[str]:
    """Two layers each."""
    return [f"{a} {b}" for a, b in combinations(range(depth(subject)), 2)]


def matrices(subject: Subject) -> list[str]:
    """Every role of every layer."""
    return places_of(*ROLES)(subject)


def places_of(*roles: str) -> Places:
    """Some roles, in every layer."""

    def places(subject: Subject) -> list[str]:
        there = {role for spec in specs(subject) for role in (spec.role, *spec.fused)}
        return [f"{layer} {role}" for layer in layers(subject) for role in roles if role in there]

    return places


def only(where: Callable[[Subject], bool], places: Places) -> Places:
    """Places of subjects that have something."""
    return lambda subject: places(subject) if where(subject) else []


def everywhere(places: Places) -> Places:
    """Single places, and all of them at once."""
    return lambda subject: [*places(subject), "all"] if places(subject) else []


def alike(first: str, second: str) -> Callable[[Subject], bool]:
    """Whether two roles have tensors of one shape."""

    def where(subject: Subject) -> bool:
        to = Patient.of(subject, np.random.default_rng(0))
        a, b = (shares(to, role, 0) for role in (first, second))
        return bool(a and b) and a[0].numel() == b[0].numel()

    return where


def _layer(at: str) -> int | None:
    return None if at == "all" else int(at.split()[0])


def _swap(first: Tensor, second: Tensor) -> None:
    kept = first.clone()
    first.copy_(second.reshape(first.shape))
    second.copy_(kept.reshape(second.shape))


def _exchanged(first: str, second: str) -> Damage:
    def damage(to: Patient, at: str) -> None:
        for which in ("weight", "bias"):
            for a, b in zip(*(shares(to, role, _layer(at), which) for role in (first, second)), strict=False):
                _swap(a, b)

    return damage


def _exchanged_transposed(to: Patient, at: str) -> None:
    (down,) = shares(to, "down", _layer(at))
    (other,) = shares(to, "gate", _layer(at)) or shares(to, "up", _layer(at))
    kept = other.clone()
    other.copy_(down.T)
    down.copy_(kept.T)


def _one(change: Callable[[Tensor, np.random.Generator], Tensor]) -> Damage:
    """Changes the weight of one role in one layer, or in all."""

    def damage(to: Patient, at: str) -> None:
        roles = ROLES if at == "all" else (at.split()[1],)
        for role in roles:
            for share in shares(to, role, _layer(at)):
                share.copy_(change(share.clone(), to.draw))

    return damage


def _from_drawn(change: Callable[[Tensor, Tensor], object]) -> Damage:
    """Changes a role's weight, given the same of fresh weights."""

    def damage(to: Patient, at: str) -> None:
        fresh = Patient(to.subject, {k: v.clone() for k, v in to.subject.drawn.items()}, to.config, to.draw)
        layer, role = at.split()
        for share, drawn in zip(shares(to, role, int(layer)), shares(fresh, role, int(layer)), strict=True):
            change(share, drawn)

    return damage


def _head_drawn(to: Patient, at: str) -> None:
    count = heads(to.subject, at.split()[1])

    def change(share: Tensor, drawn: Tensor) -> None:
        new = share.reshape(count, -1).clone()
        new[1] = drawn.reshape(count, -1)[1]
        share.copy_(new.reshape(share.shape))

    _from_drawn(change)(to, at)


def _rows_drawn(to: Patient, _at: str) -> None:
    name = plan(to.subject).specs[0].name
    rows = to.draw.permutation(len(to.tensors[name]))[: len(to.tensors[name]) // 4]
    to.tensors[name][rows] = to.subject.drawn[name][rows]


def _all_drawn(*roles: str) -> Damage:
    def damage(to: Patient, at: str) -> None:
        for role in roles:
            for layer in range(depth(to.subject)):
                if not (at != "all" and int(at) != layer):
                    _from_drawn(lambda share, drawn: share.copy_(drawn))(to, f"{layer} {role}")

    return damage


def rotary_of(subject: Subject) -> int:
    """How many dimensions of a head turn with the position."""
    (query,) = shares(Patient.of(subject, np.random.default_rng(0)), "q", 0)
    size = query.numel() // query.shape[-1] // heads(subject, "q")
    share = (subject.config.get("rope_parameters") or {}).get("partial_rotary_factor") or 1.0
    return int(size * share)


def _rope(*roles: str) -> Damage:
    """Rows of every head as Llama's own files have them: what turns together lies beside each other."""

    def damage(to: Patient, at: str) -> None:
        turned = rotary_of(to.subject)
        for role in roles:
            for which in ("weight", "bias"):
                for share in shares(to, role, _layer(at), which):
                    rows = share.reshape(heads(to.subject, role), -1, share.shape[-1] if which == "weight" else 1)
                    order = torch.cat(
                        [torch.arange(turned).view(2, -1).T.flatten(), torch.arange(turned, rows.shape[1])]
                    )
                    share.copy_(rows[:, order].reshape(share.shape))

    return damage


def _heads_rolled(to: Patient, at: str) -> None:
    layer, role = at.split()
    for share in shares(to, role, int(layer)):
        share.copy_(share.reshape(heads(to.subject, role), -1).roll(1, 0).reshape(share.shape))


def _of_layers(subject: Subject, layer: int) -> list[str]:
    return [spec.name for spec in specs(subject) if spec.layer == layer]


def _layers_from(order: Callable[[int, list[int]], list[int]]) -> Damage:
    def damage(to: Patient, at: str) -> None:
        named, before = [int(each) for each in at.split() if each.isdigit()], dict(to.tensors)
        for layer, origin in enumerate(order(depth(to.subject), named)):
            for name, source in zip(_of_layers(to.subject, layer), _of_layers(to.subject, origin), strict=True):
                to.tensors[name] = before[source].clone()

    return damage


def _exchange(count: int, two: list[int]) -> list[int]:
    return [two[1 - two.index(layer)] if layer in two else layer for layer in range(count)]


def _norms_exchanged(to: Patient, at: str) -> None:
    for layer in range(depth(to.subject)) if at == "all" else [int(at)]:
        *_, first, second = norms(to.subject, layer)  # those of heads come first
        for name in (first, second), (first.replace("weight", "bias"), second.replace("weight", "bias")):
            if name[0] in to.tensors:
                _swap(to.tensors[name[0]], to.tensors[name[1]])


def _norms_moved(by: float) -> Damage:
    def damage(to: Patient, at: str) -> None:
        for name in norms(to.subject, _layer(at)):
            to.tensors[name] += by

    return damage


def _ends_exchanged(to: Patient, _at: str) -> None:
    found = plan(to.subject)
    _swap(to.tensors[found.specs[0].name], to.tensors[found.head.name])


def _codes(values: Tensor, _draw: np.random.Generator) -> Tensor:
    """What a reader of int8 gets that does not multiply by the scale."""
    return (values / (values.abs().max() / 127)).round()


def _constant(values: Tensor, _draw: np.random.Generator) -> Tensor:
    return torch.full_like(values, float(values.std()))


def _rank_one(values: Tensor, _draw: np.random.Generator) -> Tensor:
    flat = values.reshape(-1, values.shape[-1])
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    one: Tensor = u[:, :1] * s[:1] @ v[:1]
    return one.reshape(values.shape)


def _rounded(to: Patient, _at: str) -> None:
    to.tensors = {name: values.bfloat16().float() for name, values in to.tensors.items()}


def _set(key: str, change: Callable[[object], object]) -> Damage:
    """Changes a key of the config."""

    def damage(to: Patient, _at: str) -> None:
        to.config[key] = change(to.config[key])

    return damage


def _theta(by: float) -> Damage:
    def damage(to: Patient, _at: str) -> None:
        rope = dict(to.config["rope_parameters"])
        to.config["rope_parameters"] = rope | {"rope_theta": rope["rope_theta"] * by}

    return damage


def _other_heads(factor: float) -> Damage:
    def damage(to: Patient, _at: str) -> None:
        for keys in HEADS.values():
            for key in keys:
                if to.config.get(key):
                    to.config[key] = max(int(to.config[key] * factor), 1)
        if to.config.get("head_dim"):
            to.config["head_dim"] = int(to.config["head_dim"] / factor)

    return damage


def _other_activation(to: Patient, _at: str) -> None:
    key = next(key for key in ACTIVATIONS if key in to.config)
    to.config[key] = {"silu": "gelu", "relu": "gelu", "gelu_new": "relu", "gelu": "relu"}[to.config[key]]


def has(*keys: str) -> Callable[[Subject], bool]:
    """Whether the config has one of some keys."""
    return lambda subject: any(key in subject.config for key in keys)


def is_rotary(subject: Subject) -> bool:
    """Whether a subject's positions turn queries and keys."""
    return subject.config["model_type"] in ROTARY


def is_untied(subject: Subject) -> bool:
    """Whether a subject's head is a matrix of its own."""
    return not plan(subject).tied


def tables(to: Patient, _at: str, change: Callable[[Tensor], Tensor]) -> None:
    """Changes every table of rotary frequencies of the model in memory."""
    to.in_memory.append(lambda model: _frequencies(model, change))


def _frequencies(model: torch.nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    for name, buffer in model.named_buffers():
        if name.endswith("inv_freq"):
            buffer.copy_(change(buffer.clone()))


def _fewer(to: Patient, _at: str) -> None:
    key = "n_layer" if "n_layer" in to.config else "num_hidden_layers"
    to.config[key] -= 1


def _times(factor: float) -> Damage:
    return _one(lambda values, _: values * factor)


rotary = partial(only, is_rotary)


def _named(rename: Callable[[str, TensorSpec | None], str | None]) -> Damage:
    """Gives tensors other names; None leaves one out. A tensor that is computed has no spec."""

    def damage(to: Patient, _at: str) -> None:
        known = {spec.name: spec for spec in specs(to.subject)}
        names = {name: rename(name, known.get(name)) for name in to.tensors}
        to.tensors = {new: to.tensors[name] for name, new in names.items() if new is not None}

    return damage


def _last_layer_left_out(to: Patient, _at: str) -> None:
    last = depth(to.subject) - 1
    _named(lambda name, spec: None if spec and spec.layer == last else name)(to, _at)


def _of_roles(*roles: str, change: Callable[[str], str | None]) -> Damage:
    """Gives other names to the tensors of some roles; None leaves them out."""
    return _named(lambda name, spec: change(name) if spec and spec.role in roles else name)


KINDS: tuple[Kind, ...] = (
    Kind("names", "all behind a wrapper", whole, _named(lambda name, _: f"_orig_mod.{name}")),
    Kind(
        "names",
        "feed-forward under other names",
        whole,
        _of_roles("up", "gate", "down", change=lambda name: name.replace(".weight", ".linear.weight")),
    ),
    Kind("names", "feed-forward not there", whole, _of_roles("up", "gate", "down", change=lambda _: None)),
    Kind("names", "last layer not there", whole, _last_layer_left_out),
    Kind("file", "cut off", whole, lambda to, _: to.broken.append(lambda raw: raw[: len(raw) * 9 // 10])),
    Kind("misplaced", "q and k exchanged", only(alike("q", "k"), everywhere(layers)), _exchanged("q", "k")),
    Kind("misplaced", "k and v exchanged", everywhere(layers), _exchanged("k", "v")),
    Kind("misplaced", "gate and up exchanged", only(alike("gate", "up"), everywhere(layers)), _exchanged("gate", "up")),
    Kind("misplaced", "down exchanged with up or gate, transposed", layers, _exchanged_transposed),
    Kind("misplaced", "q and k in the other rope order", rotary(everywhere(layers)), _rope("q", "k")),
    Kind("misplaced", "q in the other rope order", rotary(everywhere(layers)), _rope("q")),
    Kind("misplaced", "k in the other rope order", rotary(everywhere(layers)), _rope("k")),
    Kind("misplaced", "heads one place on", places_of("q", "v"), _heads_rolled),
    Kind("misplaced", "two layers exchanged", pairs, _layers_from(_exchange)),
    Kind(
        "misplaced",
        "layers one place on",
        whole,
        _layers_from(lambda count, _: [(layer - 1) % count for layer in range(count)]),
    ),
    Kind("misplaced", "a layer's norms exchanged", everywhere(layers), _norms_exchanged),
    Kind("misplaced", "embedding and head exchanged", only(is_untied, whole), _ends_exchanged),
    Kind(
        "misplaced",
        "transposed",
        only(alike("q", "o"), places_of("q", "o")),
        _one(lambda values, _: values.reshape(-1, values.shape[-1]).T.reshape(values.shape)),
    ),
    Kind("convention", "norms less one", everywhere(layers), _norms_moved(-1.0)),
    Kind("convention", "norms plus one", everywhere(layers), _norms_moved(1.0)),
    Kind("convention", "sign of a matrix", matrices, _times(-1.0)),
    Kind("convention", "int8 codes without their scale", everywhere(matrices), _one(_codes)),
    Kind("scaled", "a matrix, by 0.5", matrices, _times(0.5)),
    Kind("scaled", "a matrix, by 2", matrices, _times(2.0)),
    Kind("scaled", "a matrix, by 1000", matrices, _times(1e3)),
    Kind("scaled", "a matrix, by 1e30", matrices, _times(1e30)),
    Kind("missing", "a matrix zero", matrices, _one(lambda values, _: torch.zeros_like(values))),
    Kind("missing", "a matrix constant", matrices, _one(_constant)),
    Kind("missing", "a matrix of rank one", matrices, _one(_rank_one)),
    Kind("left at init", "one matrix", matrices, _from_drawn(lambda share, drawn: share.copy_(drawn))),
    Kind("left at init", "one head", places_of("q", "k", "v"), _head_drawn),
    Kind("left at init", "one layer", layers, _all_drawn(*ROLES)),
    Kind("left at init", "attention", whole, _all_drawn(*ATTENTION)),
    Kind("left at init", "feed-forward", whole, _all_drawn("up", "gate", "down")),
    Kind("left at init", "a quarter of the vocabulary", whole, _rows_drawn),
    Kind("rounding", "all to bfloat16 and back", whole, _rounded, unknowable=True),
    Kind("rounding", "a matrix to bfloat16 and back", matrices, _one(lambda values, _: values.bfloat16().float())),
    Kind("config", "twice the heads", whole, _other_heads(2)),
    Kind("config", "half the heads", whole, _other_heads(0.5)),
    Kind("config", "another rope theta", rotary(whole), _theta(100.0)),
    Kind("config", "another activation", whole, _other_activation),
    Kind("config", "a layer fewer", whole, _fewer),
    Kind("config", "tied though it is not", only(is_untied, whole), _set("tie_word_embeddings", lambda _: True)),
    Kind(
        "config",
        "residuals not in parallel",
        only(has("use_parallel_residual"), whole),
        _set("use_parallel_residual", lambda used: not used),
    ),
    Kind("buffers", "rotary table zero", rotary(whole), partial(tables, change=torch.zeros_like)),
    Kind("buffers", "rotary table not a number", rotary(whole), partial(tables, change=lambda t: t * torch.nan)),
    Kind("buffers", "rotary table of another theta", rotary(whole), partial(tables, change=lambda t: t**1.5)),
)
