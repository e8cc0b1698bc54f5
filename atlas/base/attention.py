"""Attention over packed lines: many short texts behind one another in one row of tokens, with nothing between them.

All other work of a transformer is per token, so packed texts cost no padding. Only attention needs a text by itself:
here every head's queries, keys and values are gathered into a grid (lines, time), mixed, and put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

TIME_MULTIPLE = 8  # matrix products of other sizes are up to a quarter slower


@dataclass(frozen=True)
class Packed:
    """Where the lines of a packed row of tokens are, and what their tokens may look at.

    Attributes:
        grid: int64, (lines, time): index of each line's tokens in the row; behind a line's end its last token again.
        places: int64, (tokens,): where each token of the row lies in the flattened grid.
        hidden: float32, (time, time) or (lines, time, time): added to attention scores, -inf where a token may not
            look. Ordinary lines are causal, which hides what is behind their end, too.
    """

    grid: Tensor
    places: Tensor
    hidden: Tensor
    _by_heads: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, compare=False, repr=False)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Multi-head attention of every token to its own line. All are (tokens, width)."""
        mixed: Tensor = _Mix.apply(q, k, v, self, heads)  # type: ignore[no-untyped-call]
        return mixed

    def by_heads(self, heads: int) -> tuple[Tensor, Tensor]:
        """``grid`` as (lines * heads * time,) and ``places`` as (tokens * heads,), where a token has a row a head."""
        if heads not in self._by_heads:
            head = torch.arange(heads, device=self.grid.device)
            time = self.grid.shape[1]
            line, step = self.places // time, self.places % time
            grid = self.grid[:, None, :] * heads + head[:, None]  # (lines, heads, time)
            places = (line[:, None] * heads + head) * time + step[:, None]  # (tokens, heads)
            self._by_heads[heads] = grid.flatten(), places.flatten()
        return self._by_heads[heads]

    def mask(self, heads: int) -> Tensor:
        """``hidden``, for lines * heads at once."""
        return self.hidden if self.hidden.dim() == 2 else self.hidden.repeat_interleave(heads, dim=0)


def pack(lengths: Sequence[int] | np.ndarray, device: torch.device, seen: Tensor | None = None) -> Packed:
    """Lay lines of these lengths behind one another.

    Args:
        lengths: tokens of each line.
        device: where the lines are.
        seen: bool, (lines, longest, longest), True where a token (second axis) may look at another (third axis); every
            token must see at least one. None: each token sees its own line up to itself.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    time = -(-int(sizes.max()) // TIME_MULTIPLE) * TIME_MULTIPLE
    starts = np.cumsum(sizes) - sizes
    grid = starts[:, None] + np.minimum(np.arange(time), sizes[:, None] - 1)
    places = np.concatenate([row * time + np.arange(size) for row, size in enumerate(sizes)])
    visible = torch.ones(time, time, dtype=torch.bool, device=device).tril()
    if seen is not None:
        visible = visible.repeat(len(sizes), 1, 1)
        visible[:, : seen.shape[1], : seen.shape[2]] = seen
    hidden = torch.zeros(visible.shape, device=device).masked_fill_(~visible, -torch.inf)
    return Packed(torch.from_numpy(grid).to(device), torch.from_numpy(places).to(device), hidden)


class _Mix(torch.autograd.Function):
    """softmax(q k' / sqrt(d)) v, head by head and line by line. Gather and its inverse are each other's gradients."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, packed: Packed, heads: int) -> Tensor:
        grid, places = packed.by_heads(heads)
        size, time = q.shape[1] // heads, packed.grid.shape[1]
        scale = size**-0.5
        lifted = [x.reshape(-1, size).index_select(0, grid).view(-1, time, size) for x in (q, k, v)]
        query, key, value = lifted  # (lines * heads, time, size)
        mask = _expanded(packed.mask(heads).to(query.dtype), len(query))
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scale)
        weights = scores.softmax(-1)
        ctx.save_for_backward(query, key, value, weights, places)
        ctx.scale = scale
        return torch.bmm(weights, value).view(-1, size).index_select(0, places).view(q.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, places = ctx.saved_tensors
        size = query.shape[2]
        mixed = query.new_zeros(query.numel() // size, size)
        mixed.index_copy_(0, places, grads[0].reshape(-1, size))
        mixed = mixed.view(query.shape)

        def back(x: Tensor) -> Tensor:
            return x.view(-1, size).index_select(0, places).view(grads[0].shape)

        value_grad = back(torch.bmm(weights.transpose(1, 2), mixed)) if ctx.needs_input_grad[2] else None
        if not (ctx.needs_input_grad[0] or ctx.needs_input_grad[1]):
            return None, None, value_grad, None, None
        into = torch.bmm(mixed, value.transpose(1, 2))
        scores = torch._softmax_backward_data(into, weights, -1, weights.dtype).mul_(ctx.scale)
        query_grad = back(torch.bmm(scores, key)) if ctx.needs_input_grad[0] else None
        key_grad = back(torch.bmm(scores.transpose(1, 2), query)) if ctx.needs_input_grad[1] else None
        return query_grad, key_grad, value_grad, None, None


def _expanded(mask: Tensor, count: int) -> Tensor:
    return mask.expand(count, -1, -1) if mask.dim() == 2 else mask
