"""Text that a model writes itself, token by token: the texts in front of sentences, and keys that editors leave alone.

Every text has a stream of draws of its own, so it does not depend on how many others there are. Texts are written side
by side, each token once: attention's keys and values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np
import torch

from atlas.base.attention import Recorded, pack
from atlas.base.language import LanguageModel
from atlas.draws import rng
from atlas.study.editor_settings import Contexts
from atlas.ttt.editors.requests import Context
from atlas.ttt.engine.continuing import Continuation
from atlas.ttt.engine.lanes import LaneModel

SIDE_BY_SIDE = 32  # texts: more fill memory with attention's keys and values, fewer read all weights more often


@torch.inference_mode()
def write_texts(
    model: LanguageModel,
    length: int,
    draws: Sequence[np.random.Generator],
    openings: Sequence[np.ndarray] = (),
    likeliest: int | None = None,
    barred: np.ndarray | None = None,
) -> np.ndarray:
    """Texts from the start of a line on, each token drawn by its likelihood (temperature 1): unsigned (texts, length).

    Args:
        model: its weights are on their device.
        length: tokens of a text, at least one; with what a line begins behind at most the model's context.
        draws: of each text.
        openings: tokens that each text begins with; none: all are drawn.
        likeliest: so many tokens are drawn from; None: all.
        barred: which tokens are never drawn, bool (symbols,).
    """
    texts = np.empty((len(draws), length), np.int64)
    device, lane_model = next(model.parameters()).device, LaneModel(model)
    for begin in range(0, len(draws), SIDE_BY_SIDE):
        some = range(begin, min(begin + SIDE_BY_SIDE, len(draws)))
        places = torch.zeros(len(some), dtype=torch.int64, device=device)
        packed = pack([1] * len(some), device)
        recorded = Recorded(packed.all, packed.asked)
        logits = model(torch.full_like(places, model.text.start), places, recorded)
        own, cells = np.zeros(len(some), np.int64), torch.arange(len(some), device=device)[:, None]
        lines = Continuation.of(lane_model, 1, own, cells, recorded.kept, room=length - 1)
        for step in range(length):
            likelihoods = logits.double().softmax(-1).cpu().numpy()  # (texts, symbols)
            if barred is not None:
                likelihoods[:, barred] = 0
            if likeliest is not None:
                last = -min(likeliest, likelihoods.shape[1])
                likelihoods[likelihoods < np.partition(likelihoods, last)[:, last, None]] = 0
            for text, row in zip(some, likelihoods, strict=True):
                given = openings[text] if openings else ()
                texts[text, step] = (
                    given[step]
                    if step < len(given)
                    else np.searchsorted(row.cumsum(), draws[text].random() * row.sum(), side="right")
                )
            if step + 1 < length:
                tokens = torch.from_numpy(texts[some.start : some.stop, step]).to(device)
                seen = torch.zeros(1, lines.time + 1, device=device)
                logits = lines.run(tokens, places + step + 1, np.ones(len(some), np.int64), seen)
                lines = replace(lines, time=lines.time + 1)
    return texts.astype(model.text.dtype)


def write_contexts(model: LanguageModel, settings: Contexts, base_seed: int) -> list[Context]:
    """Random texts that a model writes itself from the start of a line on, as the settings say.

    A key that is averaged over such texts in front of a sentence is the subject's (Meng et al. 2022, section 3.1, step
    1). A text depends on the base seed and its number alone.
    """
    if not settings.count:
        return []
    text = model.text
    lengths = [settings.characters] if isinstance(settings.characters, int) else settings.characters
    sizes = [*islice(cycle(lengths), settings.count)]
    openings = [text.encode(opening, "contexts.openings") for opening in settings.openings or [""]]
    draws = [rng(base_seed, "editors", "context", i) for i in range(settings.count)]
    joined = settings.ends != "line end"  # then a text is one with the sentence, and may not end before it
    written = write_texts(
        model,
        max(sizes),
        draws,
        [*islice(cycle(openings), settings.count)],
        settings.likeliest,
        text.special if joined else None,
    )
    texts = [tokens[:size] for tokens, size in zip(written, sizes, strict=True)]
    return [f"{text.decode(tokens)}{settings.ends}" for tokens in texts] if joined else texts
