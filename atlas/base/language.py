"""What all other rooms ask of a base, pretrained here or from elsewhere: a language model, and its validation loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.architectures import RoleMap
from atlas.base.attention import Packed
from atlas.base.text import Text
from atlas.errors import AtlasError
from atlas.study.base_settings import Model

WINDOWS_AT_ONCE = 16
LOGITS_AT_ONCE = 1 << 24  # fewer windows where there are many symbols

Mask = Tensor | Packed | None
"""What tokens may look at: padded rows have a mask or are causal (None), packed rows say where their lines are."""


class LanguageModel(nn.Module):
    """A causal language model: its shape, how it reads text, and where its linear layers are."""

    config: Model
    text: Text
    roles: RoleMap

    def outside(self, path: str) -> str:
        """The path of a linear layer in the model as `transformers` has it.

        AtlasError where that has no layer of its own for it, but one that is shared.
        """
        return path

    def forward(self, tokens: Tensor, positions: Tensor | None = None, mask: Mask = None) -> Tensor:
        """Logits of the next token.

        Args:
            tokens: (batch, time) int64; padding belongs at the end, where a causal model cannot see it. Packed lines
                are (tokens,).
            positions: shaped like the tokens, int64; None for 0, 1, 2, ... in padded rows.
            mask: True where attention may look, broadcastable to (batch, heads, time, time); None is causal; or the
                places of packed lines.

        Returns:
            Shaped like the tokens (packed ones: those that are asked for), with a last axis of the symbols; float32.
        """
        return F.linear(self.hidden(tokens, positions, mask), self.head)

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, mask: Mask = None) -> Tensor:
        """Hidden states under the output head, as ``forward`` gives logits, with a last axis of the width."""
        raise NotImplementedError

    @property
    def embedding(self) -> nn.Embedding:
        """The layer that tokens go into."""
        raise NotImplementedError

    @property
    def head(self) -> Tensor:
        """The output matrix, (symbols, width)."""
        raise NotImplementedError


@torch.no_grad()
def validation_loss(model: LanguageModel, tokens: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats per character, whatever the tokens are.

    Protocol: the text is cut into non-overlapping windows of the model's full context. Each position of a window
    predicts the next token of the text, so that position t has seen t + 1 tokens of its own window and nothing before
    it. A remainder shorter than a window is left out.

    Args:
        model: the language model.
        tokens: token ids, unsigned, shape (tokens,).

    Raises AtlasError where the text is shorter than one window and one character.
    """
    windows = torch.from_numpy(tokens.astype(np.int64)).to(model.head.device)
    length = model.config.context
    count = (len(windows) - 1) // length
    if count < 1:
        raise AtlasError(
            f"validation text: {len(windows)} tokens, expected at least {length + 1} (one window of the context "
            "and its next token); give a longer corpus or raise base.validation"
        )
    inputs = windows[: count * length].view(count, length)
    targets = windows[1 : count * length + 1].view(count, length)
    total = 0.0
    at_once = max(1, min(WINDOWS_AT_ONCE, LOGITS_AT_ONCE // (length * model.text.symbols)))
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        logits = model(inputs[part])  # (windows, context, symbols)
        total += F.cross_entropy(logits.flatten(0, 1), targets[part].flatten(), reduction="sum").item()
    return total / model.text.characters(tokens[1 : count * length + 1])
