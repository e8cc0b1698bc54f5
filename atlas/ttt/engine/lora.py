"""Lane-batched LoRA: many adapters over one frozen base, trained in one pass.

An adapted layer computes ``y = xW + (alpha / r) (xA) B`` (Hu et al. 2021, arXiv 2106.09685, section 4.1), A random and
B zero at the start. Every lane (seed) has its own A and B; the base product runs once over all lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.base.model import Transformer
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.study.settings import Role, Settings
from atlas.ttt.engine.adapter import AdapterSite, TrainableAdapter, uniform
from atlas.ttt.engine.fused import FusedModel
from atlas.ttt.engine.lanes import TAP, LaneModel, Lanes, LinearSite, Pull, TrainedParts
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


@final
class LoraLinear(TrainableAdapter):
    """A frozen linear layer with one low-rank adapter per lane."""

    def __init__(self, site: AdapterSite, settings: Settings | None = None) -> None:  # noqa: ARG002
        shapes = {"lora_A": (site.linear.in_features, site.rank), "lora_B": (site.rank, site.linear.out_features)}
        super().__init__(site, shapes, site.alpha / site.rank)

    def initial(self, draw: np.random.Generator) -> Sequence[np.ndarray]:
        return uniform(draw, *self.shapes["lora_A"]), np.zeros(self.shapes["lora_B"])

    def as_lora(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        a, b = parts
        return a, b

    def update(self, parts: Sequence[Tensor]) -> Tensor:
        a, b = parts
        return self.scale * (a @ b)

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        a, b = parts
        return torch.baddbmm(self.base.weight.T.expand(len(a), -1, -1), a, b, alpha=self.scale)

    def run(self, rows: Tensor, trained: TrainedParts) -> Tensor:
        out: Tensor = _Adapted.apply(rows, TAP, trained, self)  # type: ignore[no-untyped-call]
        return out


Kind = Callable[[AdapterSite, Any], TrainableAdapter]
"""What makes the adapter of a site, with the settings of its kind: a class, LoRA's or a plugin's."""


class Adapters(LaneModel):
    """The adapters of a model: where they are, how they start, and which ones it runs with.

    ``named`` has ``PATH.PART`` (lanes, ...), of LoRA ``PATH.lora_A`` (lanes, in, rank) and ``PATH.lora_B`` (lanes,
    rank, out).
    """

    @classmethod
    def attach(
        cls,
        model: LanguageModel,
        targets: Sequence[Role],
        ranks: Sequence[int],
        alpha: float,
        kind: Kind = LoraLinear,
        settings: Settings | None = None,
    ) -> Adapters:
        """Freeze a model and put adapters at every site of the target roles whose layer has a rank above 0."""

        def make(site: LinearSite, lanes: Lanes) -> TrainableAdapter:
            return kind(AdapterSite(site.linear, lanes, site.layer, site.role, ranks[site.layer], alpha), settings)

        return cls._put(model, targets, [layer for layer, rank in enumerate(ranks) if rank], make)

    def descend(self, lines: Batch, counts: Tensor, pull: Pull | None = None) -> tuple[Tensor, Tensor]:
        return self._fused.descend(lines, counts, pull) if self._fused else super().descend(lines, counts, pull)

    @cached_property
    def _fused(self) -> FusedModel | None:
        """The small model's pass by hand, with plain LoRA; all others go by autograd."""
        plain = all(type(slot.module) is LoraLinear for slot in self.slots)
        return FusedModel(self.model) if plain and isinstance(self.model, Transformer) else None

    @property
    def _adapters(self) -> list[TrainableAdapter]:
        return [cast("TrainableAdapter", slot.module) for slot in self.slots]

    def as_lora(self, theta: Tensor) -> list[tuple[Tensor, Tensor]] | None:
        """What each slot adds as a LoRA, A (lanes, in, rank) and B (lanes, rank, out); None where one cannot be."""
        both = zip(self._adapters, self._parts(theta), strict=True)
        found = [lora for adapter, parts in both if (lora := adapter.as_lora(parts))]
        return found if len(found) == len(self.slots) else None

    def initial(self, base_seed: int, seeds: Sequence[int]) -> Tensor:
        """Fresh ``theta``, (lanes, parameters).

        A site's draw depends on the seed, layer and role alone, so arms share it. AtlasError where a plugin's parts
        or update are not of the shapes that they should have.
        """
        lanes = []
        for seed in seeds:
            parts: list[np.ndarray] = []
            for slot, adapter in zip(self.slots, self._adapters, strict=True):
                found = adapter.initial(rng(base_seed, seed, "lora_a", slot.site.layer, slot.site.role))
                shapes = [*adapter.shapes.values()]
                _insist(adapter, "initial", slot.site.path, [part.shape for part in found], shapes)
                parts += [part.ravel() for part in found]
            lanes.append(np.concatenate(parts))
        theta = torch.from_numpy(np.stack(lanes).astype(np.float32))
        for slot, adapter, own in zip(self.slots, self._adapters, self._parts(theta[:1]), strict=True):
            if not isinstance(adapter, LoraLinear):
                update = adapter.update([part.to(adapter.kernel.device) for part in own])
                _insist(adapter, "update", slot.site.path, [update.shape], [(1, *adapter.kernel.shape)])
        return theta


def _insist(adapter: TrainableAdapter, what: str, path: str, found: Sequence[Any], expected: Sequence[Any]) -> None:
    if [*map(tuple, found)] != [*map(tuple, expected)]:
        shapes = ", ".join(str(tuple(shape)) for shape in found)
        raise AtlasError(
            f"{type(adapter).__name__}.{what}: shapes {shapes} for {path}, expected "
            f"{', '.join(str(tuple(shape)) for shape in expected)}; mend the plugin"
        )
