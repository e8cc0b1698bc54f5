"""Passes that run only the ends of lines: what comes before an edit is the same at every step of a search.

A causal model's states before the first changed character of a line never change, so their keys and values in attention
are kept from one whole pass, and later passes run only the tokens from there on. The model need not know: it hands its
queries, keys and values to whatever packs its lines, which is the place to put the kept ones in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.attention import Grid, Packed, View
from atlas.ttt.engine.lines import Batch

Kept = tuple[Tensor, Tensor]
"""Attention keys and values of one layer, (tokens, width) each."""


@dataclass(frozen=True)
class Recorded(Packed):
    """Packed lines that keep the keys and values of every layer of a pass."""

    kept: list[Kept] = field(default_factory=list, compare=False)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int, view: View) -> Tensor:
        self.kept.append((k, v))
        return super().mix(q, k, v, heads, view)


@dataclass(frozen=True)
class Continued(Packed):
    """The ends of packed lines, which see what is kept of the whole ones, too.

    Attributes:
        rows: int64, (tokens of ends,): where they are among all tokens.
        whole: int64, (lines, whole time): the grid of whole lines.
        kept: what a whole pass kept, layer after layer, and again from the first as passes come.
    """

    rows: Tensor = field(kw_only=True)
    whole: Tensor = field(kw_only=True)
    kept: Iterator[Kept] = field(kw_only=True, compare=False)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int, view: View) -> Tensor:
        keys, values = (old.index_copy(0, self.rows, new) for old, new in zip(next(self.kept), (k, v), strict=True))
        asked, seen, given = (
            rows[grid].view(*grid.shape, heads, -1).transpose(1, 2)  # (lines, heads, time, size)
            for rows, grid in ((q, view.grid.cells), (keys, self.whole), (values, self.whole))
        )
        mixed = F.scaled_dot_product_attention(asked, seen, given, attn_mask=view.hidden[:, None])
        return mixed.transpose(1, 2).flatten(2).flatten(0, 1)[view.grid.places]


@dataclass(frozen=True)
class Ends:
    """The ends of a batch's lines as a batch of their own; ``rows`` are their tokens, int64, in the whole one."""

    lines: Batch
    rows: Tensor

    def of(self, tokens: Tensor) -> Tensor:
        """Where tokens of the whole batch, which must be in an end, are among those of the ends."""
        return torch.searchsorted(self.rows, tokens)


def ends(lines: Batch, changed: Tensor, kept: Iterator[Kept]) -> Ends:
    """Cut a batch of lines.

    Args:
        lines: the whole lines.
        changed: int64, indices of tokens; every line's end begins with the first of them in it, and has one.
        kept: what a pass over the whole lines kept.
    """
    device, count = lines.tokens.device, len(lines.lengths)
    line = torch.repeat_interleave(torch.arange(count, device=device), lines.lengths)
    first = torch.full((count,), len(line), device=device).scatter_reduce(0, line[changed], changed, "amin")
    rows = (torch.arange(len(line), device=device) >= first[line]).nonzero()[:, 0]
    lengths = torch.bincount(line[rows], minlength=count)
    begins = torch.cumsum(lengths, 0) - lengths
    steps = torch.arange(int(lengths.max()), device=device)
    whole = lines.packed.all.grid
    grid = Grid(
        cells=begins[:, None] + torch.minimum(steps, lengths[:, None] - 1),
        places=line[rows] * len(steps) + torch.arange(len(rows), device=device) - begins[line[rows]],
    )
    view = View(grid, _hidden(lines.positions[first], len(steps), whole.time))
    packed = Continued(all=view, asked=view, rows=rows, whole=whole.cells, kept=kept)
    cut = {name: getattr(lines, name)[rows] for name in ("tokens", "positions", "targets", "answers")}
    return Ends(replace(lines, **cut, lengths=lengths, lanes=(len(rows),), asked=(len(rows),), packed=packed), rows)


def _hidden(first: Tensor, steps: int, time: int) -> Tensor:
    """What a line's end may look at, added to scores, (lines, steps, time): all of the line up to itself."""
    now = first[:, None] + torch.arange(steps, device=first.device)
    seen = torch.arange(time, device=first.device) <= now[:, :, None]
    return torch.zeros(seen.shape, device=first.device).masked_fill_(~seen, -torch.inf)
