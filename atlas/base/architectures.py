"""What Atlas knows of each architecture's inside: where its linear layers are, by role, and how fused ones come apart.

An adapter belongs to one role, but GPT-2 holds queries, keys and values side by side in a ``Conv1D``, GPT-NeoX head by
head in a linear layer. Each becomes a linear layer of its own inside a module that gives what the fused one gave. Only
modules are put here; their weights come from a checkpoint whose matrices were taken apart in the same way
(``atlas.guard.blueprints.TensorSpec.parts``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from atlas.study.settings import Role

FUSED = {"c_attn": False, "query_key_value": True}
"""Last names of layers that hold queries, keys and values, and whether they do so head by head, not side by side."""
FUSED_ROLES = ("q", "k", "v")


@dataclass(frozen=True)
class RoleMap:
    """Path of the list of layers in a model, and in a layer the path of each role's linear module."""

    layers: str
    roles: Mapping[Role, str]

    def inside(self, path: str) -> RoleMap:
        """The map of a model that holds this one's at ``path``."""
        return replace(self, layers=f"{path}.{self.layers}")


def _roles(layers: str, qkv: str, o: str, up: str, down: str, gate: str = "") -> RoleMap:
    """The map of an architecture; ``qkv`` has braces where its paths have the role."""
    attention: dict[Role, str] = {"q": qkv.format("q"), "k": qkv.format("k"), "v": qkv.format("v"), "o": o}
    gated: dict[Role, str] = {"gate": gate} if gate else {}
    return RoleMap(layers, {**attention, **gated, "up": up, "down": down})


OPT = _roles("decoder.layers", "self_attn.{}_proj", "self_attn.out_proj", "fc1", "fc2")
LLAMA = _roles("layers", "self_attn.{}_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj", gate="mlp.gate_proj")
GPT2 = _roles("h", "attn.c_attn.{}", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
GPT_NEOX = _roles("layers", "attention.query_key_value.{}", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")

MAPS: Mapping[str, RoleMap] = {
    "opt": OPT,
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
}
"""Map by ``model_type``, of the model without its head."""


class Unfused(nn.Module):
    """Queries, keys and values by layers ``q``, ``k``, ``v``, handed on as the fused layer would.

    Args:
        out: features of each of the three; ``into``: of the input.
        heads: of a layer that holds the three head by head; None: side by side.
    """

    def __init__(self, into: int, out: int, heads: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(into, out, bias) for _ in FUSED_ROLES)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.q(x), self.k(x), self.v(x)]
        if self.heads is None:
            return torch.cat(parts, dim=-1)
        by_head = [part.view(*part.shape[:-1], self.heads, -1) for part in parts]  # (..., heads, size)
        return torch.cat(by_head, dim=-1).flatten(-2)


def unfuse(model: nn.Module, heads: int) -> None:
    """Make every role of a model of so many heads a linear layer of its own.

    Puts an ``Unfused`` in the place of every fused layer, and a linear one in that of every other ``Conv1D``.
    """
    for path, module in [*model.named_modules()]:
        parent, _, name = path.rpartition(".")
        conv1d = hasattr(module, "nf")
        if not conv1d and name not in FUSED:
            continue
        weight = cast("Tensor", module.weight)
        out, into = reversed(weight.shape) if conv1d else weight.shape  # a ``Conv1D`` holds (in, out)
        if name in FUSED:
            made: nn.Module = Unfused(into, out // 3, heads if FUSED[name] else None, module.bias is not None)
        else:
            made = nn.Linear(into, out)
        setattr(model.get_submodule(parent), name, made)
