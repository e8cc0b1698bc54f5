"""Validation loss of a language model, by one stated protocol."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from atlas.base.model import Transformer
from atlas.errors import AtlasError

WINDOWS_AT_ONCE = 16


@torch.no_grad()
def validation_loss(model: Transformer, tokens: np.ndarray, context: int | None = None) -> float:
    """Mean negative log-likelihood, in nats per character.

    Protocol: the text is cut into non-overlapping windows of ``context`` characters (the model's full context unless
    given). Each position of a window predicts the next character of the text, so that position t has seen t + 1
    characters of its own window and nothing before it. A remainder shorter than a window is left out.

    Args:
        model: the language model.
        tokens: token ids, uint8, shape (characters,).
        context: window length, at most the model's positions.

    Raises AtlasError where the text is shorter than one window and one character.
    """
    windows = torch.from_numpy(tokens.astype(np.int64)).to(model.head.device)
    length = context or model.config.context
    count = (len(windows) - 1) // length
    if count < 1:
        raise AtlasError(
            f"validation text: {len(windows)} characters, expected at least {length + 1} (one window of the context "
            "and its next character); give a longer corpus or raise base.validation"
        )
    inputs = windows[: count * length].view(count, length)
    targets = windows[1 : count * length + 1].view(count, length)
    total = 0.0
    for start in range(0, count, WINDOWS_AT_ONCE):
        part = slice(start, start + WINDOWS_AT_ONCE)
        logits = model(inputs[part])  # (windows, context, 96)
        total += F.cross_entropy(logits.flatten(0, 1), targets[part].flatten(), reduction="sum").item()
    return total / (count * length)
