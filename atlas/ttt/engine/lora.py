"""Lane-batched LoRA: many adapters over one frozen base, trained in one pass.

An adapted layer computes ``y = xW + (alpha / r) (xA) B`` (Hu et al. 2021, arXiv 2106.09685, section 4.1), A random and
B zero at the start. Every lane (seed) has its own A and B; the base product runs once over all lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.base.language import LanguageModel
from atlas.base.model import Transformer
from atlas.draws import rng
from atlas.study.settings import Role
from atlas.ttt.engine.fused import FusedModel
from atlas.ttt.engine.lanes import TAP, LaneLinear, LaneModel, Lanes, LinearSite, Pull, TrainedParts
from atlas.ttt.engine.lines import Batch


class _Adapted(torch.autograd.Function):
    """``xW + scale (xA) B``. Gradients of A and B are added to their places in one buffer, not handed to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _tap: Tensor, trained: TrainedParts, layer: LoraLinear) -> Tensor:
        """x is (rows, in)."""
        a, b = trained.parts
        lanes = layer.lanes_of(x, trained.parts)
        low = lanes.product(x, a)
        ctx.save_for_backward(x, low)
        ctx.trained, ctx.layer, ctx.lanes = trained, layer, lanes
        return lanes.add(layer.product.forward(x), low, b, layer.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, low), lanes, layer = ctx.saved_tensors, ctx.lanes, ctx.layer
        a, b = ctx.trained.parts
        grad = grads[0].contiguous()
        inner = lanes.product(grad, b.transpose(1, 2), layer.scale)  # gradient of xA
        if ctx.trained.grads:
            grad_a, grad_b = ctx.trained.grads
            lanes.add_gradient(grad_a, x, inner)
            lanes.add_gradient(grad_b, low, grad, layer.scale)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return lanes.add(layer.product.backward(grad), inner, a.transpose(1, 2)), None, None, None


class LoraLinear(LaneLinear):
    """A frozen linear layer with one low-rank adapter per lane."""

    def __init__(self, base: nn.Linear, lanes: Lanes, rank: int, scale: float) -> None:
        shapes = {"lora_A": (base.in_features, rank), "lora_B": (rank, base.out_features)}
        super().__init__(base, lanes, shapes, scale)

    def update(self, parts: Sequence[Tensor]) -> Tensor:
        a, b = parts
        return self.scale * (a @ b)

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        a, b = parts
        return torch.baddbmm(self.base.weight.T.expand(len(a), -1, -1), a, b, alpha=self.scale)

    def run(self, rows: Tensor, trained: TrainedParts) -> Tensor:
        out: Tensor = _Adapted.apply(rows, TAP, trained, self)  # type: ignore[no-untyped-call]
        return out


class Adapters(LaneModel):
    """The adapters of a model: where they are, how they start, and which ones it runs with.

    ``named`` has ``PATH.lora_A`` (lanes, in, rank) and ``PATH.lora_B`` (lanes, rank, out).
    """

    @classmethod
    def attach(cls, model: LanguageModel, targets: Sequence[Role], ranks: Sequence[int], alpha: float) -> Adapters:
        """Freeze a model and put adapters at every site of the target roles whose layer has a rank above 0."""

        def make(site: LinearSite, lanes: Lanes) -> LoraLinear:
            rank = ranks[site.layer]
            return LoraLinear(site.linear, lanes, rank, alpha / rank)

        return cls._put(model, targets, [layer for layer, rank in enumerate(ranks) if rank], make)

    def descend(self, lines: Batch, counts: Tensor, pull: Pull | None = None) -> tuple[Tensor, Tensor]:
        return self._fused.descend(lines, counts, pull) if self._fused else super().descend(lines, counts, pull)

    @cached_property
    def _fused(self) -> FusedModel | None:
        """The small model's pass by hand; models from outside go by autograd."""
        return FusedModel(self.model) if isinstance(self.model, Transformer) else None

    def initial(self, base_seed: int, seeds: Sequence[int]) -> Tensor:
        """Fresh ``theta``, (lanes, parameters): A uniform in ±1/sqrt(in) as in PEFT, B zero.

        A site's draw depends on the seed, layer and role alone and grows with the rank, so arms share it.
        """
        lanes = []
        for seed in seeds:
            parts = []
            for slot in self.slots:
                (width_in, rank), shape_b = slot.module.shapes.values()
                draw = rng(base_seed, seed, "lora_a", slot.site.layer, slot.site.role)
                bound = 1 / math.sqrt(width_in)
                rows = draw.uniform(-bound, bound, size=(rank, width_in))  # rows in turn: a prefix for lower ranks
                parts += [rows.T.ravel(), np.zeros(math.prod(shape_b))]
            lanes.append(np.concatenate(parts))
        return torch.from_numpy(np.stack(lanes).astype(np.float32))
