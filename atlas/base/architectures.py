"""What Atlas knows of each architecture's inside: where its linear layers are, by role, and how fused ones come apart.

An adapter belongs to one role, but GPT-2 holds queries, keys and values side by side in a ``Conv1D``, GPT-NeoX head by
head in a linear layer. Each becomes a linear layer of its own inside a module that gives what the fused one gave. Only
modules are put here; their weights come from a checkpoint whose matrices were taken apart in the same way
(``atlas.guard.blueprints.TensorSpec.parts``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from atlas.study.settings import Role

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


def replace_fused(model: nn.Module, name: str, heads: int | None) -> None:
    """Put an ``Unfused`` in the place of every fused layer, the modules of this last name."""
    for path, fused in [*model.named_modules()]:
        if path.rpartition(".")[2] == name:
            weight = _rows(fused)
            _put(model, path, Unfused(weight.shape[1], len(weight) // 3, heads, fused.bias is not None))


def replace_transposed(model: nn.Module, names: set[str]) -> None:
    """Put a linear layer in the place of every ``Conv1D`` of one of these last names; it holds (in, out)."""
    for path, module in [*model.named_modules()]:
        if path.rpartition(".")[2] in names and hasattr(module, "nf"):
            weight = _rows(module)
            _put(model, path, nn.Linear(weight.shape[1], weight.shape[0]))


def _rows(module: nn.Module) -> Tensor:
    """The weight of a linear layer or a ``Conv1D`` as (out, in)."""
    weight = cast("Tensor", module.weight).detach()
    return weight.T if hasattr(module, "nf") else weight


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _gpt2(model: nn.Module, _heads: int) -> None:
    replace_fused(model, "c_attn", None)
    replace_transposed(model, {"c_proj", "c_fc"})


def _gpt_neox(model: nn.Module, heads: int) -> None:
    replace_fused(model, "query_key_value", heads)


UNFUSE: Mapping[str, Callable[[nn.Module, int], None]] = {"gpt2": _gpt2, "gpt_neox": _gpt_neox}
"""By ``model_type`` what has to be done to a model of so many heads, so that every role is a linear layer; nothing to
the others."""
