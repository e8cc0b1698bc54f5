"""Scores of facts under what lanes were taught, in one teacher-forced pass: likelihoods, and recall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import IGNORED, Batch, Line, batch

TOKENS_PER_PASS = {"cpu": 4096, "cuda": 1 << 18}  # a processor's caches hold the activations; a GPU wants more
LOGITS_PER_PASS = 1 << 25  # fewer tokens where there are many symbols, so that memory suffices


@dataclass(frozen=True)
class Scores:
    """Scores of lines, every array (lanes, lines); of a single batch (lines,).

    Attributes:
        nll: negative log-likelihood, nats per token of the whole sentence, line end included.
        answer_nll: the same over the answer and the line end only.
        recalled: greedy decoding from the prompt gives exactly the answer and the line end. Read off the
            teacher-forced pass: decoding is right to the end if and only if every argmax on the way is right.
        answered: greedy decoding gives the answer first, whatever comes behind. A model that was taught no fact ends no
            line behind an answer, so this is what says whether it knows one.
        worst: negative log-likelihood of the answer's least likely token, its line end included, nats.
    """

    nll: np.ndarray
    answer_nll: np.ndarray
    recalled: np.ndarray
    answered: np.ndarray
    worst: np.ndarray

    @classmethod
    def empty(cls, lanes: int, lines: int) -> Scores:
        """Room for scores."""
        nll, answer_nll, worst = np.empty((3, lanes, lines), np.float32)
        recalled, answered = np.empty((2, lanes, lines), bool)
        return cls(nll, answer_nll, recalled, answered, worst)

    @classmethod
    def of(cls, lines: Batch, nll: Tensor, logits: Tensor) -> Scores:
        """Scores of a batch from every token's ``nll`` and ``logits``."""
        sums, of_answers = lines.line_sums, nll * lines.answers
        wrong, ends = (logits.argmax(-1) != lines.targets) & lines.answers, lines.lengths.cumsum(0) - 1
        answered = sums(wrong.index_fill(0, ends, value=False)) == 0
        found = (
            sums(nll) / sums(lines.targets != IGNORED),
            sums(of_answers) / sums(lines.answers),
            answered & ~wrong[ends],
            answered,
            torch.segment_reduce(of_answers, "max", lengths=lines.lengths, unsafe=True),
        )
        return cls(*(part.cpu().numpy() for part in found))

    def lines(self, part: slice | np.ndarray) -> Scores:
        """The scores of some of the lines."""
        return Scores(*(values[..., part] for values in self.all))

    def followed_by(self, more: Scores) -> Scores:
        """The scores of these lines, then of more lines."""
        return Scores(*(np.concatenate(pair, axis=-1) for pair in zip(self.all, more.all, strict=True)))

    def at(self, places: np.ndarray) -> Scores:
        """Of scores of a single batch or lane those at ``places``, in their shape."""
        return Scores(*(values.reshape(-1)[places] for values in self.all))

    @property
    def all(self) -> tuple[np.ndarray, ...]:
        return self.nll, self.answer_nll, self.recalled, self.answered, self.worst


def token_nll(model: LaneModel, lines: Batch) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of every target in nats (0 where ignored), (tokens,), and the logits behind them."""
    logits = model.logits(lines)
    return F.cross_entropy(logits, lines.targets, ignore_index=IGNORED, reduction="none"), logits


@torch.inference_mode()
def score(model: LaneModel, lanes: Sequence[Sequence[Line]], device: torch.device) -> Scores:
    """Score the same number of lines for every lane."""
    out = Scores.empty(len(lanes), len(lanes[0]))
    for forward in passes(model, lanes, device):
        forward.fill(out)
    return out


def score_base(model: LaneModel, lanes: Sequence[Sequence[Line]], device: torch.device) -> Scores:
    """Score lines under the base. Lanes share it, so a line that several of them have runs once."""
    lines = {id(item): item for lane in lanes for item in lane}
    column = {key: i for i, key in enumerate(lines)}
    model.bind(None)
    scores = score(model, [list(lines.values())], device)
    return scores.at(np.array([[column[id(item)] for item in lane] for lane in lanes]))


@dataclass(frozen=True)
class Pass:
    """Some lines of some lanes, run through the model. ``lane`` and ``column``, int64 (lines,), say which they are."""

    lane: np.ndarray
    column: np.ndarray
    lines: Batch
    nll: Tensor
    logits: Tensor

    def fill(self, out: Scores) -> None:
        """Write the scores of these lines to their places."""
        for values, part in zip(out.all, Scores.of(self.lines, self.nll, self.logits).all, strict=True):
            values[self.lane, self.column] = part


def passes(model: LaneModel, lanes: Sequence[Sequence[Line]], device: torch.device) -> Iterator[Pass]:
    """Run every line of every lane through the model, some at a time."""
    symbols = model.model.text.symbols
    for lane, column in together([[item.predicted for item in lines] for lines in lanes], device, symbols):
        chosen: list[list[Line]] = [[] for _ in lanes]
        for i, j in zip(lane, column, strict=True):
            chosen[i].append(lanes[i][j])
        lines = batch(chosen, device)
        yield Pass(lane, column, lines, *token_nll(model, lines))


def together(
    lengths: Sequence[Sequence[int]], device: torch.device, symbols: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut the items of all lanes into passes of like length, so that attention has little padding.

    Yields:
        lane, column: int64, (items of this pass,): which items they are, lane after lane.
    """
    lane = np.repeat(np.arange(len(lengths)), [len(items) for items in lengths])
    column = np.concatenate([np.arange(len(items)) for items in lengths])
    flat = np.concatenate([np.asarray(items, dtype=np.int64) for items in lengths])
    order = np.argsort(flat, kind="stable")
    most = min(TOKENS_PER_PASS[device.type], max(1, LOGITS_PER_PASS // symbols))
    passed = (np.cumsum(flat[order]) - 1) // most
    for part in np.split(order, np.flatnonzero(np.diff(passed)) + 1):
        part = part[np.lexsort((column[part], lane[part]))]
        yield lane[part], column[part]
