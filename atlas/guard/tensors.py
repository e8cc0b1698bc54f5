"""Tensors by name: their identity, and the part of a model that each of them is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["matrix", "bias", "norm weight", "norm bias", "embedding", "other"]
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
    blocks: int = 0  # heads that share its outputs (of o its inputs); 0 where there are none, or nobody says how many
    stored: str = ""  # how the file stores it, such as Q8_0, where files store tensors in more than one way (GGUF)

    @property
    def may_stay(self) -> bool:
        """Whether training may leave it where it was: the bias of attention keys adds one number to all scores of a
        query, which softmax takes away again, so it has no gradient."""
        return self.kind == "bias" and self.role == "k"


def dtype_of(tensor: Tensor) -> str:
    """The name of a tensor's dtype, such as float32."""
    return str(tensor.dtype).removeprefix("torch.")


def role_name(name: str) -> str:
    """A tensor's name without its numbers: what it shares with those of its role in other layers."""
    return re.sub(r"\d+", "#", name)


def widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with numbers of 8 bits as those of 32, since torch cannot compare or count the former."""
    small = {name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.element_size() == 1}
    return {name: tensor.float() if name in small else tensor for name, tensor in tensors.items()}


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

    Convolutions come as matrices of (out, everything else), other tensors of more than two dimensions as the rows of
    all. A vector that is neither a bias nor a norm's, such as a token or a gain, is an "other": nothing is asked of it
    but that no value towers.
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
            if flat.ndim > 2 and len(flat) == 1:  # a token or a table of positions, for any batch
                flat = flat.flatten() if flat.shape[1] == 1 else flat[0]
            if flat.ndim > 2:  # a convolution, or the matrices of many experts
                convolution = "conv" in type(module).__name__.lower()
                flat = flat.flatten(1) if convolution else flat.flatten(0, -2)
            elif flat.ndim == 2 and type(module).__name__ == "Conv1D":
                flat = flat.T  # transformers' class holds (in, out)
            yield WeightPart(name, name, flat, _kind(module, own, flat), role)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm, by the name of its class."""
    return "norm" in type(module).__name__.lower()


def _kind(module: nn.Module, own: str, values: Tensor) -> Kind:
    """What a parameter is, by its module and its own name there; ``values`` are as the part holds them."""
    if is_norm(module):
        return "norm bias" if own.endswith("bias") else "norm weight"
    if values.ndim < 2:
        return "bias" if own.endswith("bias") else "other"
    tables = isinstance(module, nn.Embedding) or re.search("pos|embed|token", own)
    return "embedding" if tables else "matrix"
