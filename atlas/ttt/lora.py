"""Lane-batched LoRA: many adapters over one frozen base, trained in one pass.

An adapted layer computes ``y = xW + (alpha / r) (xA) B`` (Hu et al. 2021, arXiv 2106.09685, section 4.1), A random and
B zero at the start. Every lane (seed) has its own A and B; the base product runs once over all lanes.

All adapter weights of all lanes are one tensor ``theta``, shape (lanes, parameters), so that copying, blending,
anchoring and optimising an adapter is one operation on one tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.config import Role
from atlas.draws import rng
from atlas.ttt.roles import OPT, RoleMap, Site, sites

BASE = "base"  # where a LaneLinear holds the layer that it adapts


class _Adapted(torch.autograd.Function):
    """``xW + scale (xA) B`` with gradients for x, A and B; sums go into the products' own outputs, without copies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, base: nn.Linear, scale: float) -> Tensor:
        """x is (lanes * rows, ..., in), a (lanes, in, rank), b (lanes, rank, out)."""
        low = torch.bmm(x.view(len(a), -1, x.shape[-1]), a)
        ctx.save_for_backward(x, a, b, low)
        ctx.weight, ctx.scale = base.weight, scale
        out = x.new_empty(*x.shape[:-1], b.shape[-1])  # no view of another tensor, so that a ReLU may work in place
        torch.mm(x.view(-1, x.shape[-1]), base.weight.T, out=out.view(-1, b.shape[-1]))
        out.view(len(a), -1, b.shape[-1]).baddbmm_(low, b, alpha=scale)
        return out if base.bias is None else out.add_(base.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, low = ctx.saved_tensors
        grad = grads[0].reshape(len(a), -1, b.shape[-1])
        inner = torch.bmm(grad, b.transpose(1, 2)).mul_(ctx.scale)  # gradient of xA
        grad_a = torch.bmm(x.view(len(a), -1, x.shape[-1]).transpose(1, 2), inner)
        grad_b = torch.bmm(low.transpose(1, 2), grad).mul_(ctx.scale)
        if not ctx.needs_input_grad[0]:
            return None, grad_a, grad_b, None, None
        grad_x = torch.matmul(grad, ctx.weight).baddbmm_(inner, a.transpose(1, 2))
        return grad_x.view(x.shape), grad_a, grad_b, None, None


class LaneLinear(nn.Module):
    """A frozen linear layer with one low-rank adapter per lane. Inputs are (lanes * rows, ..., in)."""

    def __init__(self, base: nn.Linear, scale: float) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.a: Tensor | None = None  # (lanes, in, rank)
        self.b: Tensor | None = None  # (lanes, rank, out)
        self.merged: Tensor | None = None  # (lanes, in, out), where nothing is to be trained

    def bind(self, a: Tensor, b: Tensor) -> None:
        """Run with these adapters; merged into the base's weights, which saves two products, unless they train."""
        self.a, self.b, self.merged = a, b, None
        if not a.requires_grad:
            base = self.base.weight.T.expand(len(a), -1, -1)
            self.merged = torch.baddbmm(base, a, b, alpha=self.scale)

    def unbind(self) -> None:
        """Run as the base."""
        self.a = self.b = self.merged = None

    def forward(self, x: Tensor) -> Tensor:
        if self.a is None or self.b is None:
            out: Tensor = self.base(x)
            return out
        if self.merged is None:
            out = _Adapted.apply(x.contiguous(), self.a, self.b, self.base, self.scale)  # type: ignore[no-untyped-call]
            return out
        wide = x.reshape(len(self.a), -1, x.shape[-1])  # (lanes, rows * time, in)
        bias = self.base.bias if self.base.bias is not None else wide.new_zeros(())
        return torch.baddbmm(bias, wide, self.merged).view(*x.shape[:-1], -1)


def base_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model that adapters may be attached to, by the names they had before."""
    inside = f".{BASE}."
    return {name.replace(inside, "."): tensor for name, tensor in model.state_dict().items()}


@dataclass(frozen=True)
class Slot:
    """Where one site's adapter lies in ``theta``."""

    site: Site
    module: LaneLinear
    rank: int
    width_in: int
    width_out: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of parameters of A and of B."""
        return self.rank * self.width_in, self.rank * self.width_out


class Adapters:
    """The adapters of a model: where they are, how they start, and which ones it runs with."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)
        self.parameters = sum(sum(slot.sizes) for slot in self.slots)

    @classmethod
    def attach(
        cls, model: nn.Module, targets: Sequence[Role], ranks: Sequence[int], alpha: float, roles: RoleMap = OPT
    ) -> Adapters:
        """Freeze a model and put a LaneLinear at every site of the target roles whose layer has a rank above 0."""
        model.requires_grad_(False)
        slots = []
        for site in sites(model, roles):
            rank = ranks[site.layer]
            if site.role not in targets or rank == 0:
                continue
            linear = site.linear
            module = LaneLinear(linear, alpha / rank)
            setattr(site.parent, site.name, module)
            slots.append(Slot(site, module, rank, linear.in_features, linear.out_features))
        return cls(slots)

    def initial(self, base_seed: int, seeds: Sequence[int]) -> Tensor:
        """Fresh ``theta``, (lanes, parameters): A uniform in ±1/sqrt(in) as in PEFT, B zero.

        A site's draw depends on the seed, layer and role alone and grows with the rank, so arms share it.
        """
        lanes = [np.concatenate([self._start(slot, base_seed, seed) for slot in self.slots]) for seed in seeds]
        return torch.from_numpy(np.stack(lanes).astype(np.float32))

    @staticmethod
    def _start(slot: Slot, base_seed: int, seed: int) -> np.ndarray:
        draw = rng(base_seed, seed, "lora_a", slot.site.layer, slot.site.role)
        bound = 1 / math.sqrt(slot.width_in)
        rows = draw.uniform(-bound, bound, size=(slot.rank, slot.width_in))  # rows in turn: a prefix for lower ranks
        return np.concatenate([rows.T.ravel(), np.zeros(slot.sizes[1])])

    def bind(self, theta: Tensor | None) -> None:
        """Let the model run with the adapters in ``theta``, or with none; gradients flow back into ``theta``."""
        if theta is None:
            for slot in self.slots:
                slot.module.unbind()
            return
        parts = iter(self._parts(theta))
        for slot in self.slots:
            slot.module.bind(next(parts), next(parts))

    def _parts(self, theta: Tensor) -> list[Tensor]:
        """A and B of every slot in turn, as views shaped (lanes, in, rank) and (lanes, rank, out)."""
        flat = torch.split(theta, [size for slot in self.slots for size in slot.sizes], dim=1)
        shapes = [s for slot in self.slots for s in ((slot.width_in, slot.rank), (slot.rank, slot.width_out))]
        return [part.view(len(theta), *shape) for part, shape in zip(flat, shapes, strict=True)]

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Tensors by name, ``PATH.lora_A`` (lanes, in, rank) and ``PATH.lora_B`` (lanes, rank, out), for saving."""
        names = [f"{slot.site.path}.{side}" for slot in self.slots for side in ("lora_A", "lora_B")]
        return {name: part.contiguous() for name, part in zip(names, self._parts(theta.detach()), strict=True)}
