"""Tensors by name: their identity, how they differ from a model's, and the part of a model that each of them is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Kind = Literal["matrix", "bias", "norm weight", "norm bias", "embedding"]
KEYS = {"k", "k_proj", "key", "k_lin", "to_k", "wk"}  # what the linear layer of attention keys is called


class Mismatch(NamedTuple):
    """One way in which a file and a model do not fit."""

    check: str  # names, shapes, dtypes or finite
    tensor: str
    problem: str


@dataclass(frozen=True)
class WeightPart:
    """A tensor of a checkpoint, or one role's share of a fused one: what checks look at that know no architecture."""

    name: str  # unique; a share of a fused tensor adds its role: "h.0.attn.c_attn.weight[q]"
    tensor: str  # the tensor's name in the file
    values: Tensor  # matrices as (out, in), embeddings as (rows, width), all others one-dimensional
    kind: Kind
    role: str = ""  # q, k, v, o, up, gate, down; head for an output matrix of its own; empty where there is none
    layer: int | None = None
    stored: str = ""  # how the file stores it, such as Q8_0, where files store tensors in more than one way (GGUF)

    @property
    def may_stay(self) -> bool:
        """Whether training may leave it where it was: the bias of attention keys adds one number to all scores of a
        query, which softmax takes away again, so it has no gradient."""
        return self.kind == "bias" and self.role == "k"


def sha256_of(tensor: Tensor) -> str:
    """SHA-256 of dtype, shape and bytes (row-major) of one tensor, in hex."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{_dtype(tensor)} {list(tensor.shape)}\n".encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of all tensors, in name order: the identity of weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {sha256_of(tensors[name])}\n".encode())
    return digest.hexdigest()


def mismatches(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: str = "") -> Iterator[Mismatch]:
    """Yield every way in which tensors are not those expected in names, shapes or dtypes, or are not finite.

    Args:
        tensors: what a file holds.
        expected: what a model has; only shapes and dtypes are looked at.
        dtype: what to say of the dtype that is expected, other than its name.
    """
    for name in sorted(expected.keys() - tensors.keys()):
        yield Mismatch("names", name, f"missing, expected shape {list(expected[name].shape)}")
    for name in sorted(tensors.keys() - expected.keys()):
        yield Mismatch("names", name, f"unexpected, shape {list(tensors[name].shape)}; the model has no such tensor")
    for name in sorted(expected.keys() & tensors.keys()):
        found, wanted = tensors[name], expected[name]
        if found.shape != wanted.shape:
            yield Mismatch("shapes", name, f"shape {list(found.shape)}, expected {list(wanted.shape)}")
        if found.dtype != wanted.dtype:
            yield Mismatch("dtypes", name, f"dtype {_dtype(found)}, {dtype or f'expected {_dtype(wanted)}'}")
        if bad := int((~torch.isfinite(found)).sum()):
            yield Mismatch("finite", name, f"{bad} of {found.numel()} values are not finite")


def parts_of(model: nn.Module) -> Iterator[WeightPart]:
    """The parameters of any model, their kinds read from the classes of its modules; a shared one comes once.

    Tensors with more than two dimensions (convolutions) come as matrices of (out, everything else).
    """
    seen: set[int] = set()
    for path, module in model.named_modules():
        for own, values in module.named_parameters(recurse=False):
            if id(values) not in seen:
                seen.add(id(values))
                name = f"{path}.{own}" if path else own
                role = "k" if path.rpartition(".")[2] in KEYS else ""
                yield WeightPart(name, name, _flat(module, values.detach().cpu()), _kind(module, own, values), role)


def _kind(module: nn.Module, own: str, values: Tensor) -> Kind:
    if "norm" in type(module).__name__.lower():
        return "norm bias" if own == "bias" else "norm weight"
    if values.ndim < 2:
        return "bias"
    return "embedding" if isinstance(module, nn.Embedding) else "matrix"


def _flat(module: nn.Module, values: Tensor) -> Tensor:
    if values.ndim > 2:
        return values.flatten(1)
    transposed = values.ndim == 2 and type(module).__name__ == "Conv1D"  # transformers' class holds (in, out)
    return values.T if transposed else values


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
