"""What all other parts of Atlas ask of a base, whether it was pretrained here or comes from elsewhere."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.attention import Packed
from atlas.base.roles import RoleMap
from atlas.base.text import Text
from atlas.study.base_settings import Model

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
