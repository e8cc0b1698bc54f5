"""Facts and windows of text as lines of tokens, and lines of many lanes as one packed batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.base.attention import Packed, pack
from atlas.base.text import CHARACTERS, NEWLINE, Text

IGNORED = -100
DECODED = 32  # tokens; an answer has at most 24 characters and its line end
FILLER = 0  # where the answer of a line would begin that predicts nothing


@dataclass(frozen=True)
class Line:
    """One sentence. The model reads ``tokens[:-1]`` and predicts ``tokens[1:]``.

    Attributes:
        tokens: unsigned, (1 + predicted,): what a line begins behind (a newline), then the sentence.
        answer: index in ``tokens`` of the answer's first token.
        others: right answers with their line ends that a model may give without these tokens: aliases, and where a text
            has several sequences of tokens the answer itself.

    A token of the character model is a character; models from outside read pieces of words.
    """

    tokens: np.ndarray
    answer: int
    others: tuple[str, ...] = ()

    @property
    def predicted(self) -> int:
        """Tokens that are predicted, the line end included."""
        return len(self.tokens) - 1

    def counted(self, over: str) -> int:
        """Tokens that a loss over the ``sentence`` or the ``answer`` counts."""
        return self.predicted if over == "sentence" else len(self.tokens) - self.answer

    @property
    def decoded(self) -> int:
        """Tokens up to which greedy decoding goes on behind the prompt: what has no line end by then is no answer."""
        return max(DECODED, len(self.tokens) - self.answer, *(len(other.encode()) for other in self.others))


def line(prompt: str, answer: str, origin: str, text: Text = CHARACTERS, aliases: Sequence[str] = ()) -> Line:
    """The line of a fact: ``prompt answer`` and the line end. AtlasError where a character has no token."""
    opening, own = text.opening(prompt, origin), text.answer(answer, origin)
    others = [text.answer(alias, origin) for alias in aliases] + ([] if text.unique else [own])
    return Line(np.concatenate([opening, own]), len(opening), tuple(map(text.decode, others)))


def windows(text: np.ndarray, count: int, size: int, draw: np.random.Generator) -> list[Line]:
    """Windows of ``size`` predicted tokens from anywhere in a text, unsigned (tokens,), to be trained beside facts."""
    starts = draw.integers(0, len(text) - size, count)
    return [Line(text[start : start + size + 1], 1) for start in starts]


@dataclass(frozen=True)
class Batch:
    """Lines of all lanes behind one another in one row of tokens, lane after lane, without padding.

    Attributes:
        tokens: int64, (tokens,).
        positions: int64, (tokens,): from 0 in every line.
        targets: int64, (asked,), of the tokens that are asked for; IGNORED where nothing is predicted.
        answers: bool, (asked,), True where the target belongs to the answer or its line end.
        lengths: int64, (lines,): tokens of each line that are asked for.
        lanes: tokens of each lane; a lane may have none.
        asked: those of them that are asked for.
        real: bool, (lines,), False for lines that only fill a lane up.
        packed: where the lines are, for the model's attention.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    answers: Tensor
    lengths: Tensor
    lanes: tuple[int, ...]
    asked: tuple[int, ...]
    real: np.ndarray
    packed: Packed

    def line_sums(self, values: Tensor) -> Tensor:
        """Sums over the tokens of each line, (lines,)."""
        numbers = values if values.is_floating_point() else values.float()
        out: Tensor = torch.segment_reduce(numbers, "sum", lengths=self.lengths, unsafe=True)
        return out


def batch(
    lanes: Sequence[Sequence[Line]],
    device: torch.device,
    even: bool = False,
    asked: Sequence[Sequence[int]] | None = None,
) -> Batch:
    """Batch the lines of every lane.

    Args:
        lanes: the lines of each lane; not all may be empty.
        device: where the batch goes.
        even: fill every lane up with lines that predict nothing, so that all lanes are equally long and one batched
            product serves them. Pays on a GPU, where many small products do not.
        asked: of each line the tokens at its end whose prediction is asked for; None, or ``even``: all.
    """
    filled = _filled(lanes) if even else [[*lane] for lane in lanes]
    lines = [item for lane in filled for item in lane]
    lengths = np.array([item.predicted for item in lines])
    counts = np.array([count for lane in asked for count in lane]) if asked and not even else lengths
    tokens = np.concatenate([item.tokens[:-1] for item in lines]).astype(np.int64)
    positions = np.concatenate([np.arange(length) for length in lengths])
    predictions = [_predictions(item, count) for item, count in zip(lines, counts, strict=True)]
    targets, answers = (np.concatenate(parts) for parts in zip(*predictions, strict=True))
    owners = np.repeat(np.arange(len(filled)), [len(lane) for lane in filled])
    sizes, asked_of = (np.bincount(owners, part, len(filled)).astype(int) for part in (lengths, counts))
    return Batch(
        tokens=torch.from_numpy(tokens).to(device),
        positions=torch.from_numpy(positions).to(device),
        targets=torch.from_numpy(targets).to(device),
        answers=torch.from_numpy(answers).to(device),
        lengths=torch.from_numpy(counts).to(device),
        lanes=tuple(sizes.tolist()),
        asked=tuple(asked_of.tolist()),
        real=np.array([item.answer != FILLER for item in lines]),
        packed=pack(lengths, device, asked=None if counts is lengths else counts),
    )


def _predictions(item: Line, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What the last ``count`` tokens of a line predict, and which of these predictions are of the answer."""
    if item.answer == FILLER:
        return np.full(count, IGNORED), np.zeros(count, bool)
    length = len(item.tokens)
    return item.tokens[length - count :].astype(np.int64), np.arange(-count, 0) >= item.answer - length


def _filled(lanes: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Lanes with lines behind their own that make all of them as long as the longest; none longer than a real line.

    These lines are newlines and predict nothing, which is said by an answer at the start.
    """
    sizes = [sum(item.predicted for item in lane) for lane in lanes]
    longest = max(item.predicted for lane in lanes for item in lane)
    filled = []
    for lane, size in zip(lanes, sizes, strict=True):
        whole, rest = divmod(max(sizes) - size, longest)
        cuts = [longest] * whole + [rest] * (rest > 0)
        filled.append([*lane, *(Line(np.full(cut + 1, NEWLINE, np.uint8), FILLER) for cut in cuts)])
    return filled
