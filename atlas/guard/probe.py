"""A model of Atlas's own as the functional checks see it: its modules by role, and its losses on a little text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.model import POSITION_OFFSET, Attention, Transformer
from atlas.guard.moves import BEFORE_LAYERS, Site
from atlas.guard.names import own_parts


@dataclass(frozen=True)
class Sample:
    """Windows of text: each of ``inputs`` predicts the character of ``targets``; int64, (windows, context)."""

    inputs: Tensor
    targets: Tensor


class Probe:
    """Losses of one model on one sample, recomputed only from the layer that changed on.

    The model may be changed between calls, as long as all that comes before the layer asked for is what it was when
    the probe was made.
    """

    def __init__(self, model: Transformer, sample: Sample) -> None:
        self.model, self.sample = model, sample
        with torch.no_grad():
            hidden = self._embedded()
            self._before = []  # the input of each layer, (windows, context, width)
            for layer in model.model.decoder.layers:
                self._before.append(hidden)
                hidden = layer(hidden, None)

    @torch.no_grad()
    def losses(self, layer: int = BEFORE_LAYERS) -> Tensor:
        """Nats per character, float32, (characters,), given that nothing before ``layer`` has changed."""
        hidden = self._embedded() if layer == BEFORE_LAYERS else self._before[layer]
        for changed in list(self.model.model.decoder.layers)[max(layer, 0) :]:
            hidden = changed(hidden, None)
        logits = F.linear(self.model.model.decoder.final_layer_norm(hidden), self.model.head)
        return F.cross_entropy(logits.flatten(0, 1), self.sample.targets.flatten(), reduction="none")

    def _embedded(self) -> Tensor:
        decoder, context = self.model.model.decoder, self.sample.inputs.shape[1]
        hidden: Tensor = decoder.embed_tokens(self.sample.inputs) + positions_of(self.model)[:context]
        return hidden


def positions_of(model: Transformer) -> Tensor:
    """The rows of the positions that are used, (context, width): a view of the model's own."""
    return model.model.decoder.embed_positions.weight.detach()[POSITION_OFFSET:]


@contextmanager
def cut_into(model: Transformer, heads: int) -> Iterator[None]:
    """Within a block the attention of every layer has another number of heads."""
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    before = [attention.heads for attention in attentions]
    try:
        for attention in attentions:
            attention.heads = heads
        yield
    finally:
        for attention, was in zip(attentions, before, strict=True):
            attention.heads = was


def samples(tokens: np.ndarray, context: int, *sizes: int) -> list[Sample]:
    """Samples of about ``sizes`` characters, one after the other, from tokens, uint8, (characters,)."""
    found, at = [], 0
    for size in sizes:
        count = max(size // context, 1)
        part = torch.from_numpy(tokens[at : at + count * context + 1].astype(np.int64))
        found.append(Sample(part[:-1].view(count, context), part[1:].view(count, context)))
        at += count * context
    return found


def sites_of(model: Transformer) -> list[Site]:
    """The modules of the layers, by role; the norms, too."""
    parameters = dict(model.named_parameters())
    found = []
    for part in own_parts(model):
        role = "norm" if part.kind == "norm weight" else part.role
        if part.kind in ("matrix", "norm weight") and part.layer is not None and role:
            bias = parameters.get(part.tensor.removesuffix("weight") + "bias")
            found.append(Site(part.layer, role, part.tensor, parameters[part.tensor], bias))
    return found
