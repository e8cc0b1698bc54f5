"""Whole matrices: every lane has its own copy of some linear layers over one shared base.

What fine-tuning and editors change, as LoRA is what adapters change. All that was added to the base's matrices, of all
lanes, is one tensor ``theta``, shape (lanes, parameters), so whatever trains, scores, probes and saves adapters does so
with whole matrices, too. Biases stay the base's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.study.settings import Role
from atlas.ttt.engine.lora import _TAP, Adapters, LaneLinear, Lanes, Slot
from atlas.ttt.engine.roles import chosen


@dataclass(frozen=True)
class Copy:
    """One matrix of all lanes as it is trained: what is added to it and where gradients are summed, both (lanes, in,
    out)."""

    update: Tensor
    grad: Tensor


class _Whole(torch.autograd.Function):
    """``x (W + update)``. The gradient of the update is added to its place in one buffer, not handed to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _tap: Tensor, copy: Copy, layer: WholeLinear) -> Tensor:
        """x is (rows, in). ``_tap`` is a scalar that needs a gradient: it makes autograd come here on the way back."""
        weights = layer.base.weight.T + copy.update
        ctx.save_for_backward(x, weights)
        ctx.copy, ctx.lanes = copy, replace(layer.lanes)
        out = layer.lanes.add(x.new_empty(len(x), weights.shape[2]), x, weights, keep=0.0)
        return out if layer.base.bias is None else out.add_(layer.base.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weights), lanes = ctx.saved_tensors, ctx.lanes
        grad = grads[0].contiguous()
        lanes.add_gradient(ctx.copy.grad, x, grad, 1.0)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return lanes.add(torch.empty_like(x), grad, weights.transpose(1, 2), keep=0.0), None, None, None


class WholeLinear(LaneLinear):
    """A linear layer of which every lane has its own copy. Inputs are (..., in), lane after lane."""

    def __init__(self, base: nn.Linear, lanes: Lanes) -> None:
        super().__init__(base, 1.0, lanes)
        self.copy: Copy | None = None  # while they train

    def train_copy(self, copy: Copy) -> None:
        """Run with copies that train; a backward pass adds to their gradients."""
        self.unbind()
        self.copy = copy

    def add(self, update: Tensor) -> None:
        """Run with the base's matrix and what is added to it, (lanes, in, out)."""
        self.unbind()
        self.merged = self.base.weight.T + update

    def unbind(self) -> None:
        super().unbind()
        self.copy = None

    def forward(self, x: Tensor) -> Tensor:
        if self.copy is None:
            return super().forward(x)
        rows = x.reshape(-1, x.shape[-1])
        wide: Tensor = _Whole.apply(rows, _TAP, self.copy, self)  # type: ignore[no-untyped-call]
        return wide if x.dim() == 2 else wide.view(*x.shape[:-1], -1)


class Full(Adapters):
    """The whole matrices of some layers."""

    def __init__(self, model: LanguageModel, slots: Sequence[Slot], lanes: Lanes) -> None:
        super().__init__(model, slots, lanes)
        self._sizes = [slot.width_in * slot.width_out for slot in self.slots]
        self.parameters = sum(self._sizes)

    @classmethod
    def attach(  # type: ignore[override]
        cls, model: LanguageModel, targets: Sequence[Role], layers: Sequence[int]
    ) -> Full:
        """Freeze a model and give every lane its own copy of the target roles' matrices in these layers.

        Raises AtlasError where the layers do not rise, or the model has no such layer.
        """
        model.requires_grad_(False)
        found = chosen(model, targets)
        known = {site.layer for site in found}
        if list(layers) != sorted(set(layers)) or not set(layers) <= known:
            raise AtlasError(f"editor: layers {list(layers)}, expected some of 0 to {max(known)}, rising, each once")
        slots, lanes = [], Lanes()
        for site in found:
            if site.layer in layers:
                linear = site.linear
                module = WholeLinear(linear, lanes)
                setattr(site.parent, site.name, module)
                rank = min(linear.in_features, linear.out_features)
                slots.append(Slot(site, module, rank, linear.in_features, linear.out_features))
        return cls(model, slots, lanes)

    def none(self, lanes: int) -> Tensor:
        """``theta`` before anything was added."""
        return torch.zeros(lanes, self.parameters, device=self.slots[0].module.base.weight.device)

    def initial(self, base_seed: int, seeds: Sequence[int]) -> Tensor:  # noqa: ARG002
        """``theta`` at the start, (lanes, parameters): nothing is drawn, all lanes begin as the base."""
        return torch.zeros(len(seeds), self.parameters)

    def bind(self, theta: Tensor | None) -> None:
        if theta is None:
            super().bind(None)
            return
        for slot, update in zip(self.slots, self.updates(theta), strict=True):
            self._whole(slot).add(update)

    def train(self, theta: Tensor, grad: Tensor) -> None:
        for slot, update, into in zip(self.slots, self.updates(theta), self.updates(grad), strict=True):
            self._whole(slot).train_copy(Copy(update, into))

    @staticmethod
    def _whole(slot: Slot) -> WholeLinear:
        assert isinstance(slot.module, WholeLinear)
        return slot.module

    def updates(self, theta: Tensor) -> list[Tensor]:
        """What is added to each matrix, slot by slot, as views into ``theta`` shaped (lanes, in, out)."""
        parts = torch.split(theta, self._sizes, dim=1)
        shapes = [(len(theta), slot.width_in, slot.width_out) for slot in self.slots]
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Tensors by name, ``PATH.update`` (lanes, in, out), for saving."""
        parts = self.updates(theta.detach())
        return {f"{slot.site.path}.update": part.contiguous() for slot, part in zip(self.slots, parts, strict=True)}
