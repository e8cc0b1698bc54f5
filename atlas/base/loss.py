"""Validation loss of a language model, by one stated protocol."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError

WINDOWS_AT_ONCE = 16
LOGITS_AT_ONCE = 1 << 24  # fewer windows where there are many symbols


@torch.no_grad()
def validation_loss(model: LanguageModel, tokens: np.ndarray, context: int | None = None) -> float:
    """Mean negative log-likelihood, in nats per character, whatever the tokens are.

    Protocol: the text is cut into non-overlapping windows of ``context`` tokens (the model's full context unless
    given). Each position of a window predicts the next token of the text, so that position t has seen t + 1 tokens of
    its own window and nothing before it. A remainder shorter than a window is left out.

    Args:
        model: the language model.
        tokens: token ids, unsigned, shape (tokens,).
        context: window length, at most the model's positions.

    Raises AtlasError where the text is shorter than one window and one character.
    """
    windows = torch.from_numpy(tokens.astype(np.int64)).to(model.head.device)
    length = context or model.config.context
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
