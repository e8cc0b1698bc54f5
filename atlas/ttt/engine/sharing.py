"""Lines that begin alike: what they have in common runs once, for all of them.

A token's hidden state depends on it and on those before it alone, so lines of a lane that begin with the same tokens
share them as far as they agree. Only attention needs every line by itself, and a token that several lines have may
predict a target of each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from atlas.base.attention import Grid, Packed, View
from atlas.ttt.engine.lines import Batch

NO_TOKEN = -1  # behind the end of a shorter line


def shared(lines: Batch, tokens: np.ndarray, owner: np.ndarray) -> Batch:
    """Let the lines of each lane share what they begin with; targets stay those of every line.

    Args:
        lines: a batch whose lines share nothing.
        tokens: what it reads, line after line, int64 (lines, longest), then NO_TOKEN.
        owner: whose lines they are, int64 (lines,), in rising order.
    """
    device, packed = lines.tokens.device, lines.packed
    rows, first, sizes = _rows(tokens, owner, len(lines.lanes))
    places, chosen = (torch.from_numpy(some).to(device) for some in (rows, first))
    whole, tails = packed.all.grid, packed.asked.grid
    every = asked = View(Grid(places[whole.cells], whole.places[chosen], shared=True), packed.all.hidden)
    outputs, counts = places, sizes
    if packed.asked.rows is not None:
        read, once, at = np.unique(rows[packed.asked.rows.cpu()], return_index=True, return_inverse=True)
        outputs, chosen_once, read_rows = (torch.from_numpy(some).to(device) for some in (at, once, read))
        ends = np.cumsum(sizes)
        counts = np.bincount(np.searchsorted(ends, read, side="right"), minlength=len(sizes))
        asked = View(Grid(outputs[tails.cells], tails.places[chosen_once], shared=True), packed.asked.hidden, read_rows)
    return replace(
        lines,
        tokens=lines.tokens[chosen],
        positions=lines.positions[chosen],
        outputs=outputs,
        lanes=tuple(sizes.tolist()),
        asked=tuple(counts.tolist()),
        packed=Packed(every, asked),
    )


def _rows(tokens: np.ndarray, owner: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every token of the lines, line after line, its row, int64 (tokens,); of every row the first token that has it,
    int64 (rows,); and the rows of each lane, int64 (lanes,)."""
    lengths, step = (tokens != NO_TOKEN).sum(axis=1), np.arange(tokens.shape[1])
    order = np.lexsort((*tokens.T[::-1], owner))
    back = np.argsort(order)
    ordered, sizes, owners = tokens[order], lengths[order], owner[order]
    alike = (ordered[1:] == ordered[:-1]) & (owners[1:] == owners[:-1])[:, None]
    common = np.append(0, alike.cumprod(axis=1).sum(axis=1).clip(max=sizes[1:]))  # with the line before, tokens
    new = sizes - common
    # of every token the last line so far that runs one at its step
    runs = np.maximum.accumulate(np.where(step >= common[:, None], np.arange(len(tokens))[:, None], 0), axis=0)
    found = (np.cumsum(new) - new - common)[runs] + step
    rows = found[back][step < lengths[:, None]]
    return rows, np.unique(rows, return_index=True)[1], np.bincount(owners, new, lanes).astype(np.int64)
