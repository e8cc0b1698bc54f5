"""Lines that begin alike: what they have in common runs once, for all of them.

A token's hidden state depends on it and on those before it alone, so lines of a lane that begin with the same tokens
share their rows as far as they agree. Only attention needs every line by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.attention import Grid, Recorded, View
from atlas.ttt.engine.lines import Batch, Line, batch


@dataclass(frozen=True)
class Shared(Recorded):
    """Packed lines that keep keys and values, some of whose tokens belong to several lines. Nothing can be trained."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int, view: View) -> Tensor:
        self.kept.append((k, v))
        cells = view.grid.cells
        query, key, value = (rows[cells].view(*cells.shape, heads, -1).transpose(1, 2) for rows in (q, k, v))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)  # (lines, heads, time, size)
        return mixed.transpose(1, 2).reshape(-1, q.shape[1])[view.grid.places]


def sharing(lanes: Sequence[Sequence[Line]], device: torch.device) -> tuple[Batch, Tensor]:
    """Batch the lines of every lane so that those of a lane share the tokens that they begin with.

    Returns:
        The batch; its targets, answers and lengths are those of all tokens of the lines, line after line.
        rows: int64, (tokens of the lines,): which row of the model's output each has.
    """
    whole = batch(lanes, device)
    rows, first, sizes = _rows(lanes)
    chosen, places = torch.from_numpy(first).to(device), torch.from_numpy(rows).to(device)
    grid = whole.packed.all.grid
    view = View(Grid(places[grid.cells], grid.places[chosen]), whole.packed.all.hidden)
    tokens, positions = whole.tokens[chosen], whole.positions[chosen]
    return (
        replace(whole, tokens=tokens, positions=positions, lanes=sizes, asked=sizes, packed=Shared(view, view)),
        places,
    )


def _rows(lanes: Sequence[Sequence[Line]]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Of every token of the lines, line after line, its row, int64 (tokens,); of every row the first token that has it,
    int64 (rows,); and the rows of each lane."""
    lines = [item for lane in lanes for item in lane]
    owner = np.repeat(np.arange(len(lanes)), [len(lane) for lane in lanes])
    lengths = np.array([item.predicted for item in lines])
    step = np.arange(lengths.max())
    tokens = np.full((len(lines), len(step)), -1)
    for row, item in zip(tokens, lines, strict=True):
        row[: item.predicted] = item.tokens[:-1]
    order = np.lexsort((*tokens.T[::-1], owner))
    tokens, lengths, owner = tokens[order], lengths[order], owner[order]
    alike = (tokens[1:] == tokens[:-1]) & (owner[1:] == owner[:-1])[:, None]
    common = np.append(0, alike.cumprod(axis=1).sum(axis=1).clip(max=lengths[1:]))  # with the line before, tokens
    new = lengths - common
    # of every token the last line so far that runs one at its step
    runs = np.maximum.accumulate(np.where(step >= common[:, None], np.arange(len(lines))[:, None], 0), axis=0)
    found = (np.cumsum(new) - new - common)[runs] + step
    back = np.argsort(order)
    rows = found[back][step < lengths[back][:, None]]
    sizes = np.bincount(owner, new, len(lanes)).astype(int)
    return rows, np.unique(rows, return_index=True)[1], tuple(sizes.tolist())
