"""Damage to files and names, and weights that a loader misses: what the essay's bug and its relatives do."""

from __future__ import annotations

import math

import torch

from atlas.guard.faults.kinds import (
    NORMS,
    Patient,
    biases,
    embeddings,
    kind,
    layers,
    matrices,
    of,
    whole,
    wrong_names,
)


@kind("names", "key renamed", matrices)
def _renamed(to: Patient, at: str) -> None:
    to.tensors[at.replace("weight", "w")] = to.tensors.pop(at)


@kind("names", "prefix module.", whole)
def _module(to: Patient, _at: str) -> None:
    to.tensors = {f"module.{name}": values for name, values in to.tensors.items()}


@kind("names", "prefix _orig_mod.", whole)
def _compiled(to: Patient, _at: str) -> None:
    to.tensors = {f"_orig_mod.{name}": values for name, values in to.tensors.items()}


@kind("names", "prefix lost", whole)
def _bare(to: Patient, _at: str) -> None:
    to.tensors = {name.removeprefix("model."): values for name, values in to.tensors.items()}


@kind("names", "key dropped", matrices)
def _dropped(to: Patient, at: str) -> None:
    del to.tensors[at]


@kind("names", "key twice, once wrongly", matrices)
def _twice(to: Patient, at: str) -> None:
    to.tensors[at.replace("layers.", "blocks.")] = to.tensors[at].clone()


@kind("file", "half the outputs cut off", matrices)
def _cut(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at][: len(to.tensors[at]) // 2].clone()


@kind("file", "half precision", matrices)
def _half(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at].half()


@kind("file", "truncated", whole)
def _truncated(to: Patient, _at: str) -> None:
    to.broken.append(lambda raw: raw[: len(raw) * 9 // 10])


@kind("file", "wrong header", whole)
def _header(to: Patient, _at: str) -> None:
    to.broken.append(lambda raw: (len(raw) * 2).to_bytes(8, "little") + raw[8:])


@kind("file", "empty", whole)
def _empty(to: Patient, _at: str) -> None:
    to.broken.append(lambda _raw: b"")


@kind("config", "other number of heads", whole)
def _heads(to: Patient, _at: str) -> None:
    to.config["num_attention_heads"] *= 2


@kind("config", "one layer fewer", whole)
def _fewer(to: Patient, _at: str) -> None:
    to.config["num_hidden_layers"] -= 1


@kind("config", "other feed-forward width", whole)
def _narrow(to: Patient, _at: str) -> None:
    to.config["ffn_dim"] //= 2


def _mis_mapped(to: Patient, *roles: str) -> None:
    """What a loader leaves that has wrong names for some roles and does not insist: the drawn weights."""
    rename = wrong_names(roles)
    found = {rename(name): values for name, values in to.tensors.items()}
    to.tensors = {name: found.get(name, drawn) for name, drawn in to.subject.drawn.items()}


@kind("left at init", "feed-forward, by a mis-mapped loader", whole)
def _ffn(to: Patient, _at: str) -> None:
    _mis_mapped(to, "up", "down")


@kind("left at init", "attention, by a mis-mapped loader", whole)
def _attention(to: Patient, _at: str) -> None:
    _mis_mapped(to, "q", "k", "v", "o")


@kind("left at init", "one role, by a mis-mapped loader", lambda _: ["q", "k", "v", "o", "up", "down"])
def _role(to: Patient, at: str) -> None:
    _mis_mapped(to, at)


@kind("left at init", "one layer", layers)
def _layer(to: Patient, at: str) -> None:
    to.tensors |= {name: values for name, values in to.subject.drawn.items() if f".layers.{at}." in name}


@kind("left at init", "one matrix", matrices)
def _matrix(to: Patient, at: str) -> None:
    to.tensors[at] = to.subject.drawn[at]


@kind("left at init", "one matrix, at the size of its trained self", matrices)
def _matrix_to_size(to: Patient, at: str) -> None:
    drawn = to.subject.drawn[at]
    to.tensors[at] = drawn * to.tensors[at].norm() / drawn.norm()


@kind("left at init", "one matrix, as torch draws it", matrices)
def _torch_draws(to: Patient, at: str) -> None:
    bound = 1 / math.sqrt(to.tensors[at].shape[1])
    drawn = to.draw.uniform(-bound, bound, to.tensors[at].shape)
    to.tensors[at] = torch.from_numpy(drawn).float()


@kind("left at init", "half a matrix's outputs", matrices)
def _outputs(to: Patient, at: str) -> None:
    half = len(to.tensors[at]) // 2
    to.tensors[at][half:] = to.subject.drawn[at][half:]


@kind("left at init", "half a matrix's inputs", matrices)
def _inputs(to: Patient, at: str) -> None:
    half = to.tensors[at].shape[1] // 2
    to.tensors[at][:, half:] = to.subject.drawn[at][:, half:]


@kind("left at init", "one bias", biases)
def _bias(to: Patient, at: str) -> None:
    to.tensors[at].zero_()


@kind("left at init", "a layer's norms", layers)
def _norms(to: Patient, at: str) -> None:
    for norm in NORMS:
        to.tensors[of(at, norm)].fill_(1.0)
        to.tensors[of(at, norm, "bias")].zero_()


@kind("left at init", "embeddings", embeddings)
def _embeddings(to: Patient, at: str) -> None:
    to.tensors[at] = to.subject.drawn[at]


@kind("left at init", "everything", whole)
def _everything(to: Patient, _at: str) -> None:
    to.tensors = dict(to.subject.drawn)
