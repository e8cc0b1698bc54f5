"""Random texts that the base writes itself, to stand in front of a sentence: a key averaged over them is the subject's.

Meng et al. 2022, section 3.1, step 1: texts sampled from the model, so that editing needs nothing but the model.
"""

from __future__ import annotations

import numpy as np
import torch

from atlas.base.language import LanguageModel
from atlas.draws import rng
from atlas.study.editor_settings import Contexts


@torch.inference_mode()
def write_contexts(model: LanguageModel, settings: Contexts, base_seed: int) -> list[np.ndarray]:
    """Texts of a model's own, each from a line's start on: tokens, as many and as long as the settings say.

    The model's forward takes tokens, (texts, time). A text depends on the base seed and its number alone.
    """
    draws = [rng(base_seed, "editors", "context", i) for i in range(settings.count)]
    device = next(model.parameters()).device
    tokens = torch.full((settings.count, 1), model.text.start, device=device)
    for _ in range(settings.characters if settings.count else 0):
        likelihoods = model(tokens)[:, -1].double().softmax(-1).cpu().numpy()
        drawn = [
            int(np.searchsorted(row.cumsum(), draw.random() * row.sum()))
            for row, draw in zip(likelihoods, draws, strict=True)
        ]
        tokens = torch.cat([tokens, torch.tensor(drawn, device=device)[:, None]], dim=1)
    return list(tokens[:, 1:].cpu().numpy().astype(model.text.dtype))
