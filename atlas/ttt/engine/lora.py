"""Lane-batched LoRA: many adapters over one frozen base, trained in one pass.

An adapted layer computes ``y = xW + (alpha / r) (xA) B`` (Hu et al. 2021, arXiv 2106.09685, section 4.1), A random and
B zero at the start. Every lane (seed) has its own A and B; the base product runs once over all lanes.

All adapter weights of all lanes are one tensor ``theta``, shape (lanes, parameters), so that copying, blending,
anchoring and optimising an adapter is one operation on one tensor; so are their gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.base.attention import Packed
from atlas.base.language import LanguageModel
from atlas.draws import rng
from atlas.study.settings import Role
from atlas.ttt.engine.lines import Batch
from atlas.ttt.engine.roles import Site, chosen

BASE = "base"  # where a LaneLinear holds the layer that it adapts


@dataclass
class Lanes:
    """Whose rows are whose in a matrix of tokens: lane i has ``sizes[i]`` rows behind those of the lanes before it.

    Where a matrix has fewer rows than these, it has the tokens that are asked for: ``asked[i]`` of each lane.
    """

    sizes: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()

    def of(self, rows: Tensor) -> tuple[int, ...]:
        """The rows of each lane in a matrix."""
        return self.sizes if len(rows) == sum(self.sizes) else self.asked

    def _split(self, rows: Tensor) -> tuple[Tensor, ...]:
        return torch.split(rows, list(self.of(rows)))

    def add(self, out: Tensor, x: Tensor, weights: Tensor, scale: float = 1.0, keep: float = 1.0) -> Tensor:
        """``out <- keep out + scale x W``, every lane's rows by its own W. x (rows, in), W (lanes, in, out)."""
        if len(set(self.of(x))) == 1:
            into, rows = out.view(len(weights), -1, out.shape[1]), x.view(len(weights), -1, x.shape[1])
            into.baddbmm_(rows, weights, beta=keep, alpha=scale)
            return out
        for into, rows, weight in zip(self._split(out), self._split(x), weights.unbind(), strict=True):
            into.addmm_(rows, weight, beta=keep, alpha=scale)
        return out

    def add_gradient(self, out: Tensor, x: Tensor, grad: Tensor, scale: float) -> None:
        """``out <- out + scale x' grad``, lane by lane: the gradient of W. out (lanes, in, out)."""
        if len(set(self.of(x))) == 1:
            rows, grads = (part.view(len(out), -1, part.shape[1]) for part in (x, grad))
            out.baddbmm_(rows.transpose(1, 2), grads, alpha=scale)
            return
        for into, rows, back in zip(out.unbind(), self._split(x), self._split(grad), strict=True):
            into.addmm_(rows.T, back, alpha=scale)


@dataclass(frozen=True)
class Pair:
    """One site's adapters of all lanes, a (lanes, in, rank), b (lanes, rank, out), and where gradients are summed."""

    a: Tensor
    b: Tensor
    grad_a: Tensor
    grad_b: Tensor


class _Adapted(torch.autograd.Function):
    """``xW + scale (xA) B``. Gradients of A and B are added to their places in one buffer, not handed to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _tap: Tensor, pair: Pair, layer: LaneLinear) -> Tensor:
        """x is (rows, in). ``_tap`` is a scalar that needs a gradient: it makes autograd come here on the way back."""
        low = layer.lanes.add(x.new_empty(len(x), pair.a.shape[2]), x, pair.a, keep=0.0)
        ctx.save_for_backward(x, low)
        ctx.pair, ctx.layer, ctx.lanes = pair, layer, replace(layer.lanes)
        return layer.lanes.add(nn.functional.linear(x, layer.base.weight, layer.base.bias), low, pair.b, layer.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, low), pair, lanes, scale = ctx.saved_tensors, ctx.pair, ctx.lanes, ctx.layer.scale
        grad = grads[0].contiguous()
        inner = lanes.add(torch.empty_like(low), grad, pair.b.transpose(1, 2), scale, keep=0.0)  # gradient of xA
        lanes.add_gradient(pair.grad_a, x, inner, 1.0)
        lanes.add_gradient(pair.grad_b, low, grad, scale)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        return lanes.add(grad @ ctx.layer.base.weight, inner, pair.a.transpose(1, 2)), None, None, None


class LaneLinear(nn.Module):
    """A frozen linear layer with one low-rank adapter per lane. Inputs are (..., in), lane after lane."""

    def __init__(self, base: nn.Linear, scale: float, lanes: Lanes) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.lanes = lanes  # shared by all layers, since a batch has the same lanes everywhere
        self.pair: Pair | None = None  # while they train
        self.merged: Tensor | None = None  # (lanes, in, out), where nothing is to be trained

    def train_with(self, pair: Pair) -> None:
        """Run with adapters that train; a backward pass adds to their gradients."""
        self.pair, self.merged = pair, None

    def merge(self, a: Tensor, b: Tensor) -> None:
        """Run with these adapters, merged into the base's weights, which saves two products."""
        base = self.base.weight.T.expand(len(a), -1, -1)
        self.pair, self.merged = None, torch.baddbmm(base, a, b, alpha=self.scale)

    def unbind(self) -> None:
        """Run as the base."""
        self.pair = self.merged = None

    def forward(self, x: Tensor) -> Tensor:
        if self.pair is None and self.merged is None:
            out: Tensor = self.base(x)
            return out
        rows = x.reshape(-1, x.shape[-1])
        if self.merged is not None:
            wide = self._merged(rows, self.merged)
        else:
            wide = _Adapted.apply(rows, _TAP, self.pair, self)  # type: ignore[no-untyped-call]
        return wide if x.dim() == 2 else wide.view(*x.shape[:-1], -1)

    def _merged(self, rows: Tensor, weights: Tensor) -> Tensor:
        lanes = self.lanes if len(weights) > 1 else Lanes((len(rows),))  # a single lane has all rows
        out = lanes.add(rows.new_empty(len(rows), weights.shape[2]), rows, weights, keep=0.0)
        return out if self.base.bias is None else out.add_(self.base.bias)


_TAP = torch.zeros((), requires_grad=True)


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

    def __init__(self, model: LanguageModel, slots: Sequence[Slot], lanes: Lanes) -> None:
        self.model, self.slots, self.lanes = model, tuple(slots), lanes
        self.parameters = sum(sum(slot.sizes) for slot in self.slots)

    @classmethod
    def attach(cls, model: LanguageModel, targets: Sequence[Role], ranks: Sequence[int], alpha: float) -> Adapters:
        """Freeze a model and put a LaneLinear at every site of the target roles whose layer has a rank above 0."""
        model.requires_grad_(False)
        slots, lanes = [], Lanes()
        for site in chosen(model, targets):
            rank = ranks[site.layer]
            if rank == 0:
                continue
            linear = site.linear
            module = LaneLinear(linear, alpha / rank, lanes)
            setattr(site.parent, site.name, module)
            slots.append(Slot(site, module, rank, linear.in_features, linear.out_features))
        return cls(model, slots, lanes)

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

    @property
    def symbols(self) -> int:
        """Tokens that the model knows."""
        return self.model.text.symbols

    def bind(self, theta: Tensor | None) -> None:
        """Let the model run with the adapters in ``theta``, or with none; nothing is to be trained."""
        if theta is None:
            for slot in self.slots:
                slot.module.unbind()
            return
        parts = iter(self._parts(theta))
        for slot in self.slots:
            slot.module.merge(next(parts), next(parts))

    def train(self, theta: Tensor, grad: Tensor) -> None:
        """Let the model run with the adapters in ``theta``; backward passes add their gradients to ``grad``."""
        weights, grads = iter(self._parts(theta)), iter(self._parts(grad))
        for slot in self.slots:
            slot.module.train_with(Pair(next(weights), next(weights), next(grads), next(grads)))

    def logits(self, lines: Batch) -> Tensor:
        """Logits of the next token at the tokens of a batch that are asked for, (asked, symbols)."""
        return self.run(lines.tokens, lines.positions, lines.packed, lines.lanes, lines.asked)

    def run(
        self, tokens: Tensor, positions: Tensor, packed: Packed, lanes: tuple[int, ...], asked: tuple[int, ...] = ()
    ) -> Tensor:
        """Logits of the tokens of packed lines that are asked for, (asked, symbols).

        ``lanes`` has the tokens of each lane, ``asked`` those that are asked for, where not all are.
        """
        self.lanes.sizes, self.lanes.asked = lanes, asked
        logits: Tensor = self.model(tokens, positions, packed)
        return logits

    def _parts(self, theta: Tensor) -> list[Tensor]:
        """A and B of every slot in turn, as views shaped (lanes, in, rank) and (lanes, rank, out)."""
        flat = torch.split(theta, [size for slot in self.slots for size in slot.sizes], dim=1)
        shapes = [s for slot in self.slots for s in ((slot.width_in, slot.rank), (slot.rank, slot.width_out))]
        return [part.view(len(theta), *shape) for part, shape in zip(flat, shapes, strict=True)]

    def updates(self, theta: Tensor) -> list[Tensor]:
        """What is added to each matrix, slot by slot, shaped (lanes, in, out)."""
        parts = iter(self._parts(theta))
        return [slot.module.scale * (next(parts) @ next(parts)) for slot in self.slots]

    def joined(self, named: Mapping[str, Tensor]) -> Tensor:
        """``theta`` from tensors as ``named`` gives them, (lanes, parameters)."""
        return torch.cat([named[name].flatten(1) for name in self.names], dim=1)

    @property
    def names(self) -> list[str]:
        """``PATH.lora_A`` and ``PATH.lora_B`` of every slot, in the order of ``theta``."""
        return [f"{slot.site.path}.{side}" for slot in self.slots for side in ("lora_A", "lora_B")]

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Tensors by name, ``PATH.lora_A`` (lanes, in, rank) and ``PATH.lora_B`` (lanes, rank, out), for saving."""
        return {name: part.contiguous() for name, part in zip(self.names, self._parts(theta.detach()), strict=True)}
