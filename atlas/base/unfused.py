"""Matrices of queries, keys and values by themselves, where an architecture has them in one, and the other way round.

GPT-2 holds them side by side in a ``Conv1D``, GPT-NeoX head by head in a linear layer. An adapter belongs to one of the
three, so each becomes a linear layer of its own inside a module that gives what the fused one gave. Only modules are
put here; their weights come from a checkpoint whose matrices were taken apart in the same way (``names.Row.parts``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

PARTS = ("q", "k", "v")


class Unfused(nn.Module):
    """Queries, keys and values by layers ``q``, ``k``, ``v``, handed on as the fused layer would.

    Args:
        out: features of each of the three; ``into``: of the input.
        heads: of a layer that holds the three head by head; None: side by side.
    """

    def __init__(self, into: int, out: int, heads: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(into, out, bias) for _ in PARTS)
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


def gpt2(model: nn.Module, _heads: int) -> None:
    """Make a GPT-2's matrices linear layers, one a role."""
    replace_fused(model, "c_attn", None)
    replace_transposed(model, {"c_proj", "c_fc"})


def gpt_neox(model: nn.Module, heads: int) -> None:
    """Make a GPT-NeoX's matrices of queries, keys and values layers of their own."""
    replace_fused(model, "query_key_value", heads)


BY_TYPE: Mapping[str, Callable[[nn.Module, int], None]] = {"gpt2": gpt2, "gpt_neox": gpt_neox}
"""What has to be done to a model of a ``model_type``; nothing to the others."""
