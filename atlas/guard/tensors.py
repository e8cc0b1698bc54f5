"""Tensors by name: their identity, and the part of a model that each of them is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["matrix", "bias", "norm weight", "norm bias", "embedding"]
KEYS = {"k", "k_proj", "key", "k_lin", "to_k", "wk"}  # what the linear layer of attention keys is called


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


def dtype_of(tensor: Tensor) -> str:
    """The name of a tensor's dtype, such as float32."""
    return str(tensor.dtype).removeprefix("torch.")


def sha256_of(tensor: Tensor) -> str:
    """SHA-256 of dtype, shape and bytes (row-major) of one tensor, in hex."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{dtype_of(tensor)} {list(tensor.shape)}\n".encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of all tensors, in name order: the identity of weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {sha256_of(tensors[name])}\n".encode())
    return digest.hexdigest()


def parts_of(model: nn.Module) -> Iterator[WeightPart]:
    """The parameters of any model, their kinds read from the classes of its modules; a shared one comes once.

    Tensors with more than two dimensions (convolutions) come as matrices of (out, everything else).
    """
    seen: set[int] = set()
    for path, module in model.named_modules():
        for own, values in module.named_parameters(recurse=False):
            if id(values) in seen:
                continue
            seen.add(id(values))
            name = f"{path}.{own}" if path else own
            role = "k" if path.rpartition(".")[2] in KEYS else ""
            flat = values.detach().cpu()
            if flat.ndim > 2:
                flat = flat.flatten(1)
            elif flat.ndim == 2 and type(module).__name__ == "Conv1D":
                flat = flat.T  # transformers' class holds (in, out)
            yield WeightPart(name, name, flat, _kind(module, own, values), role)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm, by the name of its class."""
    return "norm" in type(module).__name__.lower()


def _kind(module: nn.Module, own: str, values: Tensor) -> Kind:
    if is_norm(module):
        return "norm bias" if own == "bias" else "norm weight"
    if values.ndim < 2:
        return "bias"
    return "embedding" if isinstance(module, nn.Embedding) else "matrix"
