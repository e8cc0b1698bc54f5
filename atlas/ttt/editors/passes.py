"""Passes through a model as editors need them: modules watched or changed, layers left out, only the ends of lines run.

A causal model's states before the first changed token of a line never change, so their keys and values in attention are
kept from one whole pass, and later passes run only the tokens from there on. The model need not know: it hands its
queries, keys and values to whatever packs its lines, which is the place to put the kept ones in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.attention import Grid, Kept, Packed, Recorded, View
from atlas.base.language import LanguageModel
from atlas.ttt.engine.lines import Batch

Key = TypeVar("Key")


class Seen:
    """The input and the output of a module in its last pass, (tokens, width), whatever the batch."""

    into: Tensor
    out: Tensor

    def note(self, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        """A forward hook."""
        self.into, self.out = (rows.flatten(0, -2) for rows in (inputs[0], output))


@contextmanager
def watched(modules: Mapping[Key, nn.Module]) -> Iterator[dict[Key, Seen]]:
    """Look at what goes into modules and what comes out, in the passes of this block."""
    seen = {key: Seen() for key in modules}
    with ExitStack() as stack:
        for key, module in modules.items():
            stack.callback(module.register_forward_hook(seen[key].note).remove)
        yield seen


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a module give ``change`` of its output, (tokens, width) with a batch or without, in this block's passes."""
    handle = module.register_forward_hook(lambda _module, _inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def layer_of(model: LanguageModel, layer: int) -> nn.Module:
    """A whole layer of a model; its output is the residual stream behind it."""
    return model.get_submodule(f"{model.roles.layers}.{layer}")


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
class LineEnds:
    """The ends of a batch's lines as a batch of their own; ``rows`` are their tokens, int64, in the whole one."""

    lines: Batch
    rows: Tensor

    @classmethod
    def cut(cls, lines: Batch, changed: Tensor, kept: Iterator[Kept]) -> LineEnds:
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
        now = lines.positions[first][:, None] + steps  # (lines, steps); a token may look at its line up to itself
        seen = torch.arange(whole.time, device=device) <= now[:, :, None]
        view = View(grid, torch.zeros(seen.shape, device=device).masked_fill_(~seen, -torch.inf))
        packed = Continued(all=view, asked=view, rows=rows, whole=whole.cells, kept=kept)
        own = {name: getattr(lines, name)[rows] for name in ("tokens", "positions", "targets", "answers")}
        size, own["outputs"] = (len(rows),), torch.arange(len(rows), device=device)
        ends = replace(lines, **own, lengths=lengths, lanes=size, asked=size, predicted=size, packed=packed)
        return cls(ends, rows)

    def of(self, tokens: Tensor) -> Tensor:
        """Where tokens of the whole batch, which must be in an end, are among those of the ends."""
        return torch.searchsorted(self.rows, tokens)


class Stored(nn.Module):
    """Stands where layers were whose output is known, and gives that."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.empty(0)

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.hidden.view(x.shape)  # a hosted model's row is a batch of one


class Tail:
    """A model from behind a layer on. Within a ``with`` block its layers up to that one do not run."""

    def __init__(self, model: LanguageModel, layer: int) -> None:
        self.model, self.last = model, layer
        self.layers = cast("nn.ModuleList", model.get_submodule(model.roles.layers))
        self.stored = Stored()

    def __enter__(self) -> Tail:
        self._before = list(self.layers[: self.last + 1])
        for i in range(self.last + 1):
            self.layers[i] = self.stored
        return self

    def __exit__(self, *_: object) -> None:
        for i, layer in enumerate(self._before):
            self.layers[i] = layer

    @torch.no_grad()
    def recorded(self, hidden: Tensor, lines: Batch) -> tuple[Tensor, list[Kept]]:
        """The logits of whole lines, (tokens, symbols), and what later passes over their ends need of each layer."""
        packed = Recorded(lines.packed.all, lines.packed.asked)
        return self.logits(hidden, replace(lines, packed=packed)), packed.kept

    def logits(self, hidden: Tensor, lines: Batch) -> Tensor:
        """Logits of the next token, (tokens, symbols), from the residual stream behind the layer, (tokens, width)."""
        self.stored.hidden = hidden
        out: Tensor = self.model(lines.tokens, lines.positions, lines.packed)
        return out
