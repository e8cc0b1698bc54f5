"""Going on behind lines that a pass has run: new tokens see the keys and values that the pass kept of their lines.

So an answer that differs from the one that was run costs the tokens from there on, where it parts from it, and a prompt
is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from atlas.base.attention import Kept, Packed, View, grid
from atlas.ttt.engine.lanes import LaneModel

ALIVE = 0.75  # of the lines that are decoded together, those that still go on; if fewer, the others are left out


@dataclass(frozen=True)
class Behind(Packed):
    """New tokens behind lines: they are written behind what is kept of each, and see what their view shows them.

    Attributes:
        time: tokens of each line that are kept.
        kept: of each layer, as passes come, (lines, heads, time and room for new tokens, size).
    """

    time: int = field(kw_only=True)
    kept: Iterator[Kept] = field(kw_only=True, compare=False)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, heads: int, view: View) -> Tensor:
        (lines, _), end = view.grid.cells.shape, self.time + view.grid.time
        asked, new_keys, new_values = (
            rows[view.grid.cells].view(lines, view.grid.time, heads, -1).transpose(1, 2) for rows in (q, k, v)
        )  # (lines, heads, new time, size)
        keys, values = next(self.kept)
        keys[:, :, self.time : end], values[:, :, self.time : end] = new_keys, new_values
        seen, given = (rows[:, :, :end].flatten(0, 1) for rows in (keys, values))  # (lines * heads, time, size)
        scale = asked.shape[3] ** -0.5
        mask = view.mask(heads, lines).to(q.dtype)
        weights = torch.baddbmm(mask, asked.flatten(0, 1), seen.transpose(1, 2), alpha=scale).softmax(-1)
        mixed = torch.bmm(weights, given).view(asked.shape).transpose(1, 2)  # (lines, new time, heads, size)
        return mixed.reshape(-1, q.shape[1])[view.grid.places]


@dataclass(frozen=True)
class Continuation:
    """Lines that were run, and room behind them.

    Attributes:
        lane: int64, (lines,): whose lines they are, in rising order; there are ``lanes``.
        time: tokens of each line that are kept, of shorter ones the last again.
        layers: keys and values of each layer, (lines, heads, time and room, size) each.
    """

    model: LaneModel
    device: torch.device
    lanes: int
    lane: np.ndarray
    time: int
    layers: Sequence[Kept]

    @classmethod
    def of(
        cls, model: LaneModel, lanes: int, lane: np.ndarray, cells: Tensor, kept: Sequence[Kept], room: int
    ) -> Continuation:
        """Of lines whose tokens are ``cells``, int64 (lines, time), among those that ``kept`` was recorded of."""
        heads, time = model.model.config.heads, cells.shape[1]
        layers = []
        for layer in kept:
            wide = [rows.new_empty(len(cells), heads, time + room, rows.shape[1] // heads) for rows in layer]
            for into, rows in zip(wide, layer, strict=True):
                into[:, :, :time] = rows[cells].view(len(cells), time, heads, -1).transpose(1, 2)
                into[:, :, time:] = 0
            layers.append((wide[0], wide[1]))
        return cls(model, cells.device, lanes, lane, time, layers)

    def only(self, lines: np.ndarray) -> Continuation:
        """Some of the lines, int64."""
        rows = torch.from_numpy(lines).to(self.device)
        layers = [(keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in self.layers]
        return replace(self, lane=self.lane[lines], layers=layers)

    def run(self, tokens: Tensor, positions: Tensor, counts: np.ndarray, hidden: Tensor) -> Tensor:
        """Logits of the next token, (tokens, symbols).

        Args:
            tokens, positions: int64, (tokens,), line after line.
            counts: tokens of each line, int64 (lines,), at least one.
            hidden: float32, (lines, most of them, time + most of them): -inf where a token may not look.
        """
        view = View(grid(counts, tokens.device, multiple=1), hidden)
        packed = Behind(view, view, time=self.time, kept=iter(self.layers))
        sizes = np.bincount(self.lane, counts, self.lanes).astype(int)
        return self.model.run(tokens, positions, packed, tuple(sizes.tolist()))


def decode(lines: Continuation, seen: np.ndarray, first: np.ndarray, most: np.ndarray) -> list[np.ndarray]:
    """Greedy decoding up to a line end, a token of every line at a time.

    Args:
        lines: with room for the longest.
        seen: tokens of each line that are gone on behind, int64 (lines,).
        first: the token that comes next, int64 (lines,).
        most: tokens to give at the most, int64 (lines,); behind ``first`` none that the model has no position for.

    Returns:
        Of each line its tokens, int64, ``first`` and the line end included.
    """
    text, context = lines.model.model.text, lines.model.model.config.context
    most = np.minimum(most, np.maximum(context - seen + 1, 1))
    said = np.full((len(seen), most.max(initial=1)), -1)
    said[:, 0] = first
    left = np.arange(len(seen))  # lines that are run, some of which have ended
    going = left[~text.line_ends[first] & (most > 1)]
    step, device, time = 0, lines.device, lines.time
    columns = torch.arange(time + said.shape[1], device=device)
    while len(going):
        if len(going) <= ALIVE * len(left):
            lines, left = lines.only(np.searchsorted(left, going)), going
        begun = torch.from_numpy(seen[left]).to(device)[:, None, None]
        shown = columns[: time + step + 1]
        hidden = torch.zeros(1, device=device).where((shown < begun) | (shown >= time), -torch.inf)
        tokens, positions = (
            torch.from_numpy(some).to(device) for some in (said[left, step], np.minimum(seen[left] + step, context - 1))
        )
        logits = lines.run(tokens, positions, np.ones(len(left), np.int64), hidden)
        lines, step = replace(lines, time=lines.time + 1), step + 1
        said[left, step] = logits.argmax(-1).cpu().numpy()
        going = going[~text.line_ends[said[going, step]] & (most[going] > step + 1)]
    ends = text.line_ends[said] & (said >= 0)
    counts = np.minimum(np.where(ends.any(1), ends.argmax(1) + 1, said.shape[1]), most)
    return [row[:count] for row, count in zip(said, counts, strict=True)]
