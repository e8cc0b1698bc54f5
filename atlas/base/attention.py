"""Attention over packed lines: many short texts behind one another in one row of tokens, with nothing between them.

All other work of a transformer is per token, so packed texts cost no padding. Only attention needs a text by itself:
here every head's queries, keys and values are gathered into a grid (lines, time), mixed, and put back.

Where only some tokens at the end of each line are asked for, the last layer works out no others: it takes the keys and
values of all, but queries, and all that follows, of these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TIME_MULTIPLE = 8  # matrix products of other sizes are up to a quarter slower


@dataclass(frozen=True)
class Grid:
    """Where the tokens of a packed row stand when every line has a row of its own.

    Attributes:
        cells: int64, (lines, time): index of each line's tokens in the packed row; behind a line's end its last again.
        places: int64, (tokens,): where each token of the packed row lies in the flattened grid; one place where several
            lines have it.
        shared: whether several lines may have the same token.
    """

    cells: Tensor
    places: Tensor
    shared: bool = False
    _by_heads: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def time(self) -> int:
        return self.cells.shape[1]

    def by_heads(self, heads: int, parts: int = 1) -> tuple[Tensor, Tensor]:
        """``cells`` as (parts * lines * heads * time,), ``places`` as (tokens * parts * heads,): where a token has a
        row a head, of each of some matrices that lie side by side, such as queries, keys and values."""
        if (heads, parts) not in self._by_heads:
            head, part = (torch.arange(count, device=self.cells.device) for count in (heads, parts))
            line, step = self.places // self.time, self.places % self.time
            # (parts, lines, heads, time) and (tokens, parts, heads)
            cells = (self.cells[:, None, :] * parts + part[:, None, None, None]) * heads + head[:, None]
            places = (part[:, None] * len(self.cells) + line[:, None, None]) * heads + head
            places = places * self.time + step[:, None, None]
            self._by_heads[heads, parts] = cells.flatten(), places.flatten()
        return self._by_heads[heads, parts]

    def taken(self, gridded: Tensor, heads: int) -> Tensor:
        """Matrices of a grid, (matrices, lines * heads, time, size), beside one another: (tokens, matrices * width)."""
        _, places = self.by_heads(heads, len(gridded))
        return gridded.view(-1, gridded.shape[3]).index_select(0, places).view(len(self.places), -1)

    def added(self, gridded: Tensor, heads: int) -> Tensor:
        """The same for gradients: what lines have of a token that they share is added up."""
        if not self.shared:
            return self.taken(gridded, heads)
        matrices, *_, size = gridded.shape
        cells, _ = self.by_heads(heads, matrices)
        rows = gridded.new_zeros(len(self.places) * matrices * heads, size)
        return rows.index_add_(0, cells, gridded.view(-1, size)).view(len(self.places), -1)

    def part(self, lines: slice, tokens: slice) -> Grid:
        """Some of the lines, with their tokens alone."""
        return Grid(self.cells[lines] - tokens.start, self.places[tokens] - lines.start * self.time, self.shared)


@dataclass(frozen=True)
class View:
    """Tokens that look, and what they see.

    Attributes:
        grid: of the tokens that look.
        hidden: float32, (time, seen time) or (lines, time, seen time): added to attention scores, -inf where a token
            may not look. Ordinary lines are causal, which hides what is behind their end, too.
        rows: int64, (tokens,): which tokens of the packed row they are; None for all.
    """

    grid: Grid
    hidden: Tensor
    rows: Tensor | None = None

    def part(self, lines: slice, tokens: slice, seen: slice) -> View:
        """Some of the lines: of the tokens that look those of ``tokens``, of the packed row those of ``seen``."""
        hidden = self.hidden if self.hidden.dim() == 2 else self.hidden[lines]
        return View(
            self.grid.part(lines, tokens), hidden, None if self.rows is None else self.rows[tokens] - seen.start
        )

    def mask(self, heads: int, lines: int) -> Tensor:
        """``hidden``, for lines * heads at once."""
        if self.hidden.dim() == 2:
            return self.hidden.expand(lines * heads, -1, -1)
        return self.hidden.repeat_interleave(heads, dim=0)


@dataclass(frozen=True)
class Packed:
    """Where the lines of a packed row of tokens are, and what their tokens may look at.

    Attributes:
        all: every token.
        asked: the tokens whose outcome is asked for, at the end of each line.
    """

    all: View
    asked: View

    @property
    def lines(self) -> int:
        return len(self.all.grid.cells)

    def part(self, tokens: slice, asked: slice) -> Packed:
        """Whole lines by themselves, by their tokens and those of them that are asked for."""
        first = torch.tensor([tokens.start, tokens.stop])
        lines = slice(*torch.searchsorted(self.all.grid.cells[:, 0].contiguous(), first).tolist())
        whole = self.all.part(lines, tokens, tokens)
        return Packed(whole, whole if self.asked is self.all else self.asked.part(lines, asked, tokens))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int, view: View) -> Tensor:
        """Multi-head attention of the tokens of ``view``, q (its tokens, width), to their own lines, k, v (tokens,
        width)."""
        mixed: Tensor = _Mix.apply(q, k, v, self, heads, view)  # type: ignore[no-untyped-call]
        return mixed


Kept = tuple[Tensor, Tensor]
"""Attention keys and values of one layer, (tokens, width) each."""


@dataclass(frozen=True)
class Recorded(Packed):
    """Packed lines that keep the keys and values of every layer of a pass."""

    kept: list[Kept] = field(default_factory=list, compare=False)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int, view: View) -> Tensor:
        self.kept.append((k, v))
        return super().mix(q, k, v, heads, view)


def pack(
    lengths: Sequence[int] | np.ndarray,
    device: torch.device,
    seen: Tensor | None = None,
    asked: Sequence[int] | np.ndarray | None = None,
) -> Packed:
    """Lay lines of these lengths behind one another.

    Args:
        lengths: tokens of each line.
        device: where the lines are.
        seen: bool, (lines, longest, longest), True where a token (second axis) may look at another (third axis); every
            token must see at least one. None: each token sees its own line up to itself.
        asked: tokens at the end of each line whose outcome is asked for, at least one; None: all.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    whole = grid(sizes, device)
    visible = torch.ones(whole.time, whole.time, dtype=torch.bool, device=device).tril()
    if seen is not None:
        visible = visible.repeat(len(sizes), 1, 1)
        visible[:, : seen.shape[1], : seen.shape[2]] = seen
    everything = View(whole, _hidden(visible))
    if asked is None:
        return Packed(everything, everything)
    counts, ends = np.asarray(asked, dtype=np.int64), np.cumsum(sizes)
    rows = np.concatenate([np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)])
    tails = grid(counts, device)  # of the last tokens of each line
    steps = np.minimum(np.arange(tails.time), counts[:, None] - 1) + (sizes - counts)[:, None]  # (lines, time)
    within = torch.from_numpy(steps).to(device)
    by_line = visible if visible.dim() == 3 else visible.expand(len(sizes), -1, -1)
    seen_by_tails = by_line.gather(1, within[:, :, None].expand(-1, -1, by_line.shape[2]))
    return Packed(everything, View(tails, _hidden(seen_by_tails), torch.from_numpy(rows).to(device)))


@dataclass(frozen=True)
class Rows(Packed):
    """Lines of one length, each with a row of its own: attention needs nothing gathered."""

    def part(self, tokens: slice, asked: slice) -> Rows:  # noqa: ARG002
        time, cells = self.all.grid.time, self.all.grid.cells
        return rows((tokens.stop - tokens.start) // time, time, cells.device)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int, view: View) -> Tensor:
        q, k, v = (x.view(self.lines, view.grid.time, heads, -1).transpose(1, 2) for x in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)  # (lines, time, heads, size)
        return mixed.reshape(-1, heads * q.shape[3])


@lru_cache(maxsize=64)  # a run has few shapes
def rows(lines: int, time: int, device: torch.device) -> Rows:
    """Lines of one length, causal; each made once, so that steps have nothing to upload."""
    places = torch.arange(lines * time, device=device)
    visible = torch.ones(time, time, dtype=torch.bool, device=device).tril()
    view = View(Grid(places.view(lines, time), places), _hidden(visible))
    return Rows(view, view)


def bucket(time: int) -> int:
    """The length that lines of up to ``time`` tokens are padded to."""
    return -(-time // TIME_MULTIPLE) * TIME_MULTIPLE


def grid(sizes: np.ndarray, device: torch.device, multiple: int = TIME_MULTIPLE) -> Grid:
    """The grid of lines of these lengths, int64 (lines,); its time is a multiple."""
    time = -(-int(sizes.max()) // multiple) * multiple
    starts = np.cumsum(sizes) - sizes
    cells = starts[:, None] + np.minimum(np.arange(time), sizes[:, None] - 1)
    places = np.concatenate([row * time + np.arange(size) for row, size in enumerate(sizes)])
    return Grid(torch.from_numpy(cells).to(device), torch.from_numpy(places).to(device))


def _hidden(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)


class _Mix(torch.autograd.Function):
    """softmax(q k' / sqrt(d)) v, head by head and line by line."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, packed: Packed, heads: int, view: View) -> Tensor:
        asking, seen, size = view.grid, packed.all.grid, q.shape[1] // heads
        # query, key, value: (lines * heads, time, size)
        query, key, value = (
            x.reshape(-1, size).index_select(0, grid.by_heads(heads)[0]).view(-1, grid.time, size)
            for x, grid in ((q, asking), (k, seen), (v, seen))
        )
        mask = view.mask(heads, packed.lines).to(q.dtype)
        weights = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=size**-0.5).softmax(-1)
        ctx.save_for_backward(query, key, value, weights)
        ctx.asking, ctx.seen, ctx.heads = asking, seen, heads
        return asking.taken(torch.bmm(weights, value)[None], heads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (query, key, value, weights), asking, seen, heads = ctx.saved_tensors, ctx.asking, ctx.seen, ctx.heads
        mixed, size = torch.zeros_like(query), query.shape[2]
        mixed.view(-1, size).index_copy_(0, asking.by_heads(heads)[1], grads[0].reshape(-1, size))
        of_q = of_k = of_v = None
        if ctx.needs_input_grad[2]:
            of_v = seen.added(torch.bmm(weights.transpose(1, 2), mixed)[None], heads)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            into = torch.bmm(mixed, value.transpose(1, 2))
            scores = torch._softmax_backward_data(into, weights, -1, weights.dtype).mul_(size**-0.5)
            if ctx.needs_input_grad[0]:
                of_q = asking.added(torch.bmm(scores, key)[None], heads)
            if ctx.needs_input_grad[1]:
                of_k = seen.added(torch.bmm(scores.transpose(1, 2), query)[None], heads)
        return of_q, of_k, of_v, None, None, None
