"""Scores of facts under the adapters, in one teacher-forced pass: likelihoods, and recall."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.ttt.lines import IGNORED, Batch, Line, batch

Item = TypeVar("Item")

TOKENS_PER_PASS = 4096  # of all lanes together; keeps the activations of a pass within the processor's caches


class LanguageModel(Protocol):
    """What the engine needs of a model: logits (rows, time, symbols) of token rows (rows, time)."""

    def __call__(self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Scores:
    """Scores of lines, every array (lanes, lines).

    Attributes:
        nll: negative log-likelihood, nats per character of the whole sentence, line end included.
        answer_nll: the same over the answer and the line end only.
        recalled: greedy decoding from the prompt gives exactly the answer and the line end. Read off the
            teacher-forced pass: decoding is right to the end if and only if every argmax on the way is right.
    """

    nll: np.ndarray
    answer_nll: np.ndarray
    recalled: np.ndarray

    def lines(self, part: slice) -> Scores:
        """The scores of some of the lines."""
        return Scores(self.nll[:, part], self.answer_nll[:, part], self.recalled[:, part])

    def followed_by(self, more: Scores) -> Scores:
        """The scores of these lines, then of more lines."""
        pairs = (self.nll, more.nll), (self.answer_nll, more.answer_nll), (self.recalled, more.recalled)
        return Scores(*(np.concatenate(pair, axis=1) for pair in pairs))


def character_nll(model: LanguageModel, lines: Batch) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of every target in nats (0 where ignored), and the logits behind them."""
    logits = model(lines.tokens)
    nll = F.cross_entropy(logits.flatten(0, 1), lines.targets.flatten(), ignore_index=IGNORED, reduction="none")
    return nll.view(lines.targets.shape), logits


@torch.inference_mode()
def score(model: LanguageModel, lanes: Sequence[Sequence[Line]], device: torch.device) -> Scores:
    """Score the same number of lines for every lane."""
    out = np.empty((3, len(lanes), len(lanes[0])), dtype=np.float32)
    for columns, lines in by_length(lanes, lambda item: item.characters):
        rows = batch(lines, device)
        nll, logits = character_nll(model, rows)
        real = rows.targets != IGNORED
        wrong = (logits.argmax(-1) != rows.targets) & rows.answers
        values = (
            nll.sum(-1) / real.sum(-1),
            (nll * rows.answers).sum(-1) / rows.answers.sum(-1),
            (~wrong.any(-1)).float(),
        )
        for kind, value in enumerate(values):
            np.put_along_axis(out[kind], columns, value.view(columns.shape).cpu().numpy(), axis=1)
    return Scores(out[0], out[1], out[2] > 0)


def by_length(
    lanes: Sequence[Sequence[Item]], length: Callable[[Item], int]
) -> Iterator[tuple[np.ndarray, list[list[Item]]]]:
    """Cut every lane's items into passes of like length, so that little is padding.

    Yields:
        columns: int64, (lanes, items of this pass): which item of its lane each one is; and the items themselves.
    """
    lengths = np.array([[length(item) for item in lane] for lane in lanes])
    order = np.argsort(lengths, axis=1, kind="stable")
    longest = np.take_along_axis(lengths, order, axis=1).max(axis=0)
    start = 0
    while start < len(longest):
        room = TOKENS_PER_PASS // len(lanes)
        sizes = longest[start:] * np.arange(1, len(longest) - start + 1)
        stop = start + max(1, int(np.searchsorted(sizes, room, side="right")))
        columns = order[:, start:stop]
        yield columns, [[lane[i] for i in row] for lane, row in zip(lanes, columns, strict=True)]
        start = stop
