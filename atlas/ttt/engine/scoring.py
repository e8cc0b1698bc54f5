"""Scores of facts under what lanes were taught, from a teacher-forced pass: likelihoods, and recall.

Greedy decoding gives the answer and its line end if and only if every argmax on the way is right, so the pass says
that, too. Where one is wrong, decoding goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from atlas.base.attention import Recorded
from atlas.base.text import PARTIAL, Text
from atlas.ttt.engine.continuing import Continuation, decode
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import IGNORED, Batch, Line, batch
from atlas.ttt.engine.sharing import NO_TOKEN, shared

TOKENS_PER_PASS = {"cpu": 8192, "cuda": 1 << 18}  # a processor's caches hold the activations; a GPU wants more
LOGITS_PER_PASS = 1 << 25  # fewer tokens where there are many symbols, so that memory suffices


@dataclass(frozen=True)
class Scores:
    """Scores of lines, every array (lanes, lines); of a single batch (lines,).

    Attributes:
        nll: negative log-likelihood, nats per token of the whole sentence, line end included.
        answer_nll: the same over the answer and the line end only.
        recalled: greedy decoding from the prompt gives exactly the answer, or an alias, and the line end.
        answered: greedy decoding gives the answer, or an alias, first, whatever comes behind. A model that was taught
            no fact ends no line behind an answer, so this is what says whether it knows one.
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
        """Scores of a batch from every token's ``nll`` and ``logits``, by the tokens of the answers alone."""
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

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """The scores of lines, part after part."""
        return cls(*(np.concatenate(some, axis=-1) for some in zip(*(part.all for part in parts), strict=True)))

    def at(self, places: np.ndarray) -> Scores:
        """Of scores of a single batch or lane those at ``places``, in their shape."""
        return Scores(*(values.reshape(-1)[places] for values in self.all))

    @property
    def all(self) -> tuple[np.ndarray, ...]:
        return self.nll, self.answer_nll, self.recalled, self.answered, self.worst


@torch.inference_mode()
def score(model: LaneModel, lanes: Sequence[Sequence[Line]], device: torch.device) -> Scores:
    """Score the same number of lines for every lane."""
    out = Scores.empty(len(lanes), len(lanes[0]))
    for forward in passes(model, lanes, device):
        forward.fill(out, forward.decoded(forward.undecided))
    return out


@dataclass(frozen=True)
class Pass:
    """Some lines of some lanes, run through the model.

    Attributes:
        lane, column: int64, (lines,): which lines they are, lane after lane.
        items: the lines.
        lines: the same as a batch, with the keys and values of the pass.
        nll: float32, (tokens,), of what the tokens predict, nats.
        logits: float32, (tokens, symbols).
    """

    model: LaneModel
    lane: np.ndarray
    column: np.ndarray
    items: Sequence[Line]
    lines: Batch
    nll: Tensor
    logits: Tensor

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each line begins among the tokens, int64 (lines,)."""
        lengths = [item.predicted for item in self.items]
        return np.cumsum(lengths) - lengths

    @cached_property
    def greedy(self) -> np.ndarray:
        """The likeliest token behind each, int64 (tokens,)."""
        found: np.ndarray = self.logits.argmax(-1).cpu().numpy()
        return found

    @cached_property
    def right(self) -> np.ndarray:
        """Tokens of each answer, its line end included, that greedy decoding gives before the first other one, int64
        (lines,)."""
        wrong = (self.greedy != self.lines.targets.cpu().numpy()) & self.lines.answers.cpu().numpy()
        places = np.where(wrong, np.arange(len(wrong)), len(wrong))
        ends = np.append(self.starts[1:], len(wrong))
        first = np.minimum(np.minimum.reduceat(places, self.starts), ends) - self.starts
        found: np.ndarray = first + 1 - np.array([item.answer for item in self.items])
        return found

    @cached_property
    def parted(self) -> np.ndarray:
        """The lines whose answers greedy decoding does not give to the end, int64."""
        return np.flatnonzero(self.right < [len(item.tokens) - item.answer for item in self.items])

    @property
    def undecided(self) -> np.ndarray:
        """Those of them that may give a right answer all the same, by the first token that differs."""
        text, found = self.model.model.text, []
        for line in self.parted:
            if others := self.items[line].others:
                said = text.verbatim(self._until_parted(line)).rstrip(PARTIAL)
                found += [line] if any(other.startswith(said) or said.startswith(other) for other in others) else []
        return np.array(found, np.int64)

    def _until_parted(self, line: int) -> np.ndarray:
        """The answer's tokens as far as greedy decoding gives them, and the first other one."""
        item, right = self.items[line], self.right[line]
        other = self.greedy[self.starts[line] + item.answer - 1 + right]
        return np.append(item.tokens[item.answer : item.answer + right].astype(np.int64), other)

    def behind(self, lines: np.ndarray, seen: int, room: int) -> Continuation:
        """Some lines, int64, up to the first ``seen`` tokens of each, with room for more."""
        packed = self.lines.packed
        assert isinstance(packed, Recorded)
        cells = packed.all.grid.cells[torch.from_numpy(lines).to(self.nll.device), :seen]
        lanes = len(self.lines.lanes)
        return Continuation.of(self.model, lanes, self.lane[lines], cells, packed.kept, room)

    def decoded(self, lines: np.ndarray) -> dict[int, np.ndarray]:
        """What greedy decoding gives behind the prompts of some of ``parted``, int64 tokens, line end included."""
        if not len(lines):
            return {}
        begun = [self._until_parted(line) for line in lines]
        seen = np.array([self.items[line].answer + len(some) - 1 for line, some in zip(lines, begun, strict=True)])
        most = np.array([self.items[line].decoded - len(some) + 1 for line, some in zip(lines, begun, strict=True)])
        first = np.array([some[-1] for some in begun])
        more = decode(self.behind(lines, int(seen.max()), int(most.max()) - 1), seen, first, most)
        return {line: np.append(some[:-1], rest) for line, some, rest in zip(lines.tolist(), begun, more, strict=True)}

    def fill(self, out: Scores, decoded: Mapping[int, np.ndarray]) -> None:
        """Write the scores of these lines to their places; ``decoded`` has at least the lines that are undecided."""
        scores = Scores.of(self.lines, self.nll, self.logits)
        scores.answered[[line for line in self.parted if self.items[line].joined]] = False
        for line, tokens in decoded.items():
            if others := self.items[line].others:
                whole, first = _says(self.model.model.text, tokens, others)
                scores.recalled[line] |= whole
                scores.answered[line] |= first
        for values, part in zip(out.all, scores.all, strict=True):
            values[self.lane, self.column] = part


def _says(text: Text, tokens: np.ndarray, answers: Sequence[str]) -> tuple[bool, bool]:
    """Whether decoded tokens are one of some answers, verbatim with their line ends, and whether one comes first."""
    whole = text.verbatim(tokens)
    first = [answer for answer in answers if whole.startswith(answer[:-1])]
    recalled = any(whole.startswith(answer) for answer in first)
    # an answer ends where a token does: who says Australia has not said Au
    said = {text.verbatim(tokens[:end]) for end in range(1, len(tokens))} if first else set[str]()
    return recalled, recalled or any(answer[:-1] in said for answer in first)


def passes(model: LaneModel, lanes: Sequence[Sequence[Line]], device: torch.device) -> Iterator[Pass]:
    """Run every line of every lane through the model, some at a time."""
    symbols = model.model.text.symbols
    for lane, column in together([[item.predicted for item in lines] for lines in lanes], device, symbols):
        chosen: list[list[Line]] = [[] for _ in lanes]
        for i, j in zip(lane, column, strict=True):
            chosen[i].append(lanes[i][j])
        items = [item for some in chosen for item in some]
        tokens = np.full((len(items), max(item.predicted for item in items)), NO_TOKEN)
        for row, item in zip(tokens, items, strict=True):
            row[: item.predicted] = item.tokens[:-1]
        lines = shared(batch(chosen, device), tokens, lane)
        lines = replace(lines, packed=Recorded(lines.packed.all, lines.packed.asked))
        yield Pass(model, lane, column, items, lines, *model.nll(lines))


def together(
    lengths: Sequence[Sequence[int]], device: torch.device, symbols: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut the items of all lanes into passes of like length, so that attention has little padding.

    A lane that fills passes of its own gets them: what goes on behind a few lines of each lane is slow.

    Yields:
        lane, column: int64, (items of this pass,): which items they are, lane after lane.
    """
    lane = np.repeat(np.arange(len(lengths)), [len(items) for items in lengths])
    column = np.concatenate([np.arange(len(items)) for items in lengths])
    flat = np.concatenate([np.asarray(items, dtype=np.int64) for items in lengths])
    most = min(TOKENS_PER_PASS[device.type], max(1, LOGITS_PER_PASS // symbols))
    own = np.where(np.bincount(lane, flat, len(lengths)) > most, np.arange(len(lengths)), len(lengths))[lane]
    order = np.lexsort((flat, own))
    passed = (np.cumsum(flat[order]) - 1) // most
    for part in np.split(order, np.flatnonzero(np.diff(passed) + np.diff(own[order])) + 1):
        if not len(part):  # of nothing there is one part, and no pass
            return
        part = part[np.lexsort((column[part], lane[part]))]
        yield lane[part], column[part]
