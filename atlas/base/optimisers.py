"""PyTorch's optimisers without its compiler, which they import to keep it away: a second before the first step."""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=type[Optimizer])


def uncompiled(kind: Kind) -> Kind:
    """A kind of optimiser that does what it does anyway, but for looking for the compiler first."""
    kind.step = torch.no_grad()(inspect.unwrap(kind.step))  # type: ignore[method-assign]
    kind.add_param_group = inspect.unwrap(Optimizer.add_param_group)  # type: ignore[method-assign]
    kind.zero_grad = inspect.unwrap(Optimizer.zero_grad)  # type: ignore[method-assign]
    return kind


@uncompiled
class Adam(torch.optim.Adam):
    """As PyTorch's."""


@uncompiled
class AdamW(torch.optim.AdamW):
    """As PyTorch's."""
