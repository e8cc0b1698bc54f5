"""What editors need to see of a pass: inputs and outputs of modules; and passes that begin behind a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from atlas.base.language import LanguageModel
from atlas.ttt.editors.continued import Kept, Recorded
from atlas.ttt.engine.lines import Batch


class Seen:
    """The input and the output of a module in its last pass, (tokens, width), whatever the batch."""

    into: Tensor
    out: Tensor


@contextmanager
def watched(module: nn.Module) -> Iterator[Seen]:
    """Look at what goes into a module and what comes out, in the passes of this block."""
    seen = Seen()

    def note(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.into, seen.out = (rows.flatten(0, -2) for rows in (inputs[0], output))

    handle = module.register_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a module give ``change`` of its output, (tokens, width) with a batch or without, in this block's passes."""

    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def layer_of(model: LanguageModel, layer: int) -> nn.Module:
    """A whole layer of a model; its output is the residual stream behind it."""
    return model.get_submodule(f"{model.roles.layers}.{layer}")


class Stored(nn.Module):
    """Stands where layers were whose output is known, and gives that."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.empty(0)

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return self.hidden.view(x.shape)  # a hosted model's row is a batch of one


@dataclass(frozen=True)
class Whole:
    """What a pass over whole lines gave, (tokens, symbols), and kept, layer by layer."""

    logits: Tensor
    kept: list[Kept]


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
    def recorded(self, hidden: Tensor, lines: Batch) -> Whole:
        """A pass that keeps what later passes over the lines' ends need."""
        packed = Recorded(lines.packed.all, lines.packed.asked)
        return Whole(self.logits(hidden, replace(lines, packed=packed)), packed.kept)

    def logits(self, hidden: Tensor, lines: Batch) -> Tensor:
        """Logits of the next token, (tokens, symbols), from the residual stream behind the layer, (tokens, width)."""
        self.stored.hidden = hidden
        out: Tensor = self.model(lines.tokens, lines.positions, lines.packed)
        return out
