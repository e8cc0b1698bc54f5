"""Whole matrices: every lane has its own copy of some linear layers over one shared base.

What fine-tuning and editors change, as LoRA is what adapters change. Biases stay the base's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.study.settings import Role
from atlas.ttt.engine.lanes import TAP, LaneLinear, LaneModel, Lanes, TrainedParts, chosen


class _Whole(torch.autograd.Function):
    """``x (W + update)``, in two products where that with W is in bfloat16. The gradient of the update is added to its
    place in one buffer, not handed to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _tap: Tensor, trained: TrainedParts, layer: WholeLinear) -> Tensor:
        """x is (rows, in)."""
        lanes, apart = layer.lanes_of(x, trained.parts), layer.product.reduced
        weights = trained.parts[0] if apart else layer.sum(trained.parts)
        ctx.save_for_backward(x, weights)
        ctx.trained, ctx.lanes, ctx.apart = trained, lanes, layer.product if apart else None
        if apart:
            return lanes.add(layer.product.forward(x), x, weights)
        out = lanes.product(x, weights)
        return out if layer.base.bias is None else out.add_(layer.base.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weights), lanes = ctx.saved_tensors, ctx.lanes
        grad = grads[0].contiguous()
        if ctx.trained.grads:
            lanes.add_gradient(ctx.trained.grads[0], x, grad)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        back = weights.transpose(1, 2)
        into = lanes.add(ctx.apart.backward(grad), grad, back) if ctx.apart else lanes.product(grad, back)
        return into, None, None, None


class WholeLinear(LaneLinear):
    """A linear layer of which every lane has its own copy: the base's and one part, what is added to it."""

    def __init__(self, base: nn.Linear, lanes: Lanes) -> None:
        super().__init__(base, lanes, {"update": (base.in_features, base.out_features)})

    def update(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0]

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        return self.base.weight.T + parts[0]

    def run(self, rows: Tensor, trained: TrainedParts) -> Tensor:
        out: Tensor = _Whole.apply(rows, TAP, trained, self)  # type: ignore[no-untyped-call]
        return out


class Full(LaneModel):
    """The whole matrices of some layers. ``named`` has ``PATH.update`` (lanes, in, out); ``updates`` are views."""

    @classmethod
    def attach(cls, model: LanguageModel, targets: Sequence[Role], layers: Sequence[int]) -> Full:
        """Freeze a model and give every lane its own copy of the target roles' matrices in these layers.

        Raises AtlasError where the layers do not rise, or the model has no such layer.
        """
        known = {site.layer for site in chosen(model, targets)}
        if list(layers) != sorted(set(layers)) or not set(layers) <= known:
            raise AtlasError(f"editor: layers {list(layers)}, expected some of 0 to {max(known)}, rising, each once")
        return cls._put(model, targets, layers, lambda site, lanes: WholeLinear(site.linear, lanes))
