"""What all trainable adapters are: the weights that every lane adds to one frozen layer, and how these start.

A plugin derives its adapter from ``TrainableAdapter``, see docs/plugins.md. It says what is added as a function of its
parts; autograd does the rest.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from atlas.study.settings import Role, Settings
from atlas.ttt.engine.lanes import TAP, LaneLinear, Lanes, TrainedParts


@dataclass(frozen=True)
class AdapterSite:
    """Where an adapter stands, and what the study says of it there.

    Attributes:
        linear: the frozen layer; its weight is float32, (out, in).
        lanes: whose rows are whose while the model runs.
        layer: from 0.
        rank: of this layer, at least 1.
        alpha: the study's; LoRA scales what it adds by alpha / rank.
    """

    linear: nn.Linear
    lanes: Lanes
    layer: int
    role: Role
    rank: int
    alpha: float


class TrainableAdapter(LaneLinear):
    """A frozen linear layer, ``y = xW + b`` with W (in, out), to which every lane adds an update of W.

    A class of its own says three things: in ``__init__(site, settings)`` the shapes of the parts that one lane trains
    at this site, in ``initial`` how they start, and in ``update`` what they add to W, differentiably. ``as_lora`` is
    for those that PEFT can load. Two instances with the same parts must add the same.

    Attributes:
        settings_class: what `adapter:` of an arm may say, with defaults for all of it.
        kernel: W, float32, (in, out); frozen.

    Args:
        shapes: of the parts of one lane, two dimensions each, by name.
        scale: kept as ``self.scale``; used by nothing here.
    """

    settings_class: ClassVar[type[Settings]] = Settings

    def __init__(self, site: AdapterSite, shapes: Mapping[str, tuple[int, int]], scale: float = 1.0) -> None:
        super().__init__(site.linear, site.lanes, shapes, scale)

    @property
    def kernel(self) -> Tensor:
        return self.base.weight.detach().T

    @abstractmethod
    def initial(self, draw: np.random.Generator) -> Sequence[np.ndarray]:
        """The parts of one lane at its start, in the order of their shapes.

        ``draw`` is of the study's seed for this seed, layer and role: all kinds of adapters begin with the same draws.
        """

    @abstractmethod
    def update(self, parts: Sequence[Tensor]) -> Tensor:
        """What is added to W, (lanes, in, out), from the parts, (lanes, ...) each; autograd goes through it."""

    def as_lora(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002
        """A (lanes, in, rank) and B (lanes, rank, out) of the LoRA that adds the same, scaled by alpha / rank.

        None, where there is none: then `atlas export` writes whole models.
        """
        return None

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        return self.kernel + self.update(parts)

    def run(self, rows: Tensor, trained: TrainedParts) -> Tensor:
        out: Tensor = _Updated.apply(rows, TAP, trained, self)  # type: ignore[no-untyped-call]
        return out


class _Updated(torch.autograd.Function):
    """``x (W + update) + b``. Gradients of the parts are added to their places in one buffer, not given to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _tap: Tensor, trained: TrainedParts, layer: TrainableAdapter) -> Tensor:
        """x is (rows, in)."""
        lanes = layer.lanes_of(x, trained.parts)
        with torch.set_grad_enabled(bool(trained.grads)):
            parts = [part.detach().requires_grad_(bool(trained.grads)) for part in trained.parts]
            update = layer.update(parts)  # (lanes, in, out)
        ctx.save_for_backward(x)
        ctx.trained, ctx.layer, ctx.lanes, ctx.parts, ctx.update = trained, layer, lanes, parts, update
        return lanes.add(layer.product.forward(x), x, update.detach())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,), lanes, update = ctx.saved_tensors, ctx.lanes, ctx.update.detach()
        grad = grads[0].contiguous()
        if ctx.trained.grads:
            of_update = torch.zeros_like(update)
            lanes.add_gradient(of_update, x, grad)
            found = torch.autograd.grad(ctx.update, ctx.parts, of_update, allow_unused=True, materialize_grads=True)
            for into, one in zip(ctx.trained.grads, found, strict=True):
                into.add_(one)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return lanes.add(ctx.layer.product.backward(grad), grad, update.transpose(1, 2)), None, None, None


def uniform(draw: np.random.Generator, width_in: int, rank: int) -> np.ndarray:
    """LoRA's A at its start, (in, rank): uniform in ±1/sqrt(in) as in PEFT. It grows with the rank."""
    bound = 1 / math.sqrt(width_in)
    rows = draw.uniform(-bound, bound, size=(rank, width_in))  # rows in turn: a prefix for lower ranks
    return rows.T
