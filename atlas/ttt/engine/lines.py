"""Facts and windows of text as lines of tokens: a table of all that a run teaches, and batches for many lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.attention import Packed, bucket, pack
from atlas.base.text import CHARACTERS, Text
from atlas.errors import AtlasError

IGNORED = -100
DECODED = 32  # tokens; an answer has at most 24 characters and its line end


@dataclass(frozen=True)
class Line:
    """One sentence. The model reads ``tokens[:-1]`` and predicts ``tokens[1:]``.

    Attributes:
        tokens: unsigned, (1 + predicted,): what a line begins behind (a newline), then the sentence.
        answer: index in ``tokens`` of the answer's first token.
        others: right answers with their line ends, verbatim, that a model may give without these tokens: aliases, and
            where a text has several sequences of tokens the answer itself.
        joined: whether the line end shares its token with the end of the answer.

    A token of the character model is a character; models from outside read pieces of words.
    """

    tokens: np.ndarray
    answer: int
    others: tuple[str, ...] = ()
    joined: bool = False

    @property
    def predicted(self) -> int:
        """Tokens that are predicted, the line end included."""
        return len(self.tokens) - 1

    @property
    def decoded(self) -> int:
        """Tokens up to which greedy decoding goes on behind the prompt: what has no line end by then is no answer."""
        return max(DECODED, len(self.tokens) - self.answer, *(len(other.encode()) for other in self.others))


def line(
    prompt: str,
    answer: str,
    origin: str,
    text: Text = CHARACTERS,
    aliases: Sequence[str] = (),
    context: int | None = None,
) -> Line:
    """The line of a fact: prompt, answer and line end.

    Raises AtlasError where the text cannot be split into tokens, see ``Text.sentence``, and where a model with this
    context, in tokens, has no place for them all.
    """
    own = text.sentence(prompt, answer, origin)
    others = [text.sentence(prompt, alias, origin) for alias in aliases] + ([] if text.unique else [own])
    joined = text.verbatim(own.tokens[-1:]).strip("\n") != ""
    made = Line(own.tokens, own.answer, tuple(text.verbatim(other.behind) for other in others), joined)
    if context is not None and made.predicted > context:
        raise AtlasError(
            f"{origin}: {made.predicted} tokens with the line end, expected at most {context}, the base's context; "
            f"shorten {prompt!r} or {answer!r}"
        )
    return made


@dataclass(frozen=True)
class Padded:
    """Lines of all lanes, as many of each, one behind another of a lane, all padded at the end to one length.

    Attributes:
        tokens: int64, (lanes, lines, 1 + time): as those of ``Line``; what is behind a line's end counts for nothing.
        predicted: int64, (lanes, lines): tokens of each line that are predicted.
        answer: int64, (lanes, lines): index of each answer's first token.
        longest: no line has more tokens that are predicted; known without asking the device.
    """

    tokens: Tensor
    predicted: Tensor
    answer: Tensor
    longest: int

    @property
    def time(self) -> int:
        return self.tokens.shape[2] - 1

    @property
    def real(self) -> Tensor:
        """Which predictions are of a line and not of padding, bool (lanes, lines, time)."""
        return torch.arange(self.time, device=self.tokens.device) < self.predicted[..., None]

    @property
    def answers(self) -> Tensor:
        """Which predictions are not of a prompt, bool (lanes, lines, time)."""
        return torch.arange(1, self.time + 1, device=self.tokens.device) >= self.answer[..., None]

    def counted(self, over: str) -> Tensor:
        """Tokens of each line that a loss over the ``sentence`` or the ``answer`` counts, int64 (lanes, lines)."""
        return self.predicted if over == "sentence" else self.predicted + 1 - self.answer

    def columns(self, part: slice) -> Padded:
        """Some lines of each lane."""
        return Padded(self.tokens[:, part], self.predicted[:, part], self.answer[:, part], self.longest)

    def beside(self, more: Padded) -> Padded:
        """These lines, then more of each lane."""
        time = max(self.time, more.time)
        both = (F.pad(some.tokens, (0, time - some.time)) for some in (self, more))
        return Padded(
            torch.cat([*both], dim=1),
            torch.cat([self.predicted, more.predicted], dim=1),
            torch.cat([self.answer, more.answer], dim=1),
            max(self.longest, more.longest),
        )


@dataclass(frozen=True)
class ItemTable:
    """The items of every lane on one device, made once for a run: lines are gathered from it by their indices.

    Attributes:
        sizes: int64, (lanes, items): tokens of each item that are predicted, on the host.
        lines: int64, (lanes, items): which line each item is; lanes may share lines.
        tokens: int64, (all lines, 1 + time), padded at the end.
        predicted, answer: int64, (all lines,), see ``Line``.
    """

    sizes: np.ndarray
    lines: Tensor
    tokens: Tensor
    predicted: Tensor
    answer: Tensor

    @classmethod
    def of(cls, lanes: Sequence[Sequence[Line]], device: torch.device) -> ItemTable:
        """The table of these lines, as many of each lane."""
        every = list({id(item): item for lane in lanes for item in lane}.values())
        place = {id(item): i for i, item in enumerate(every)}
        index = np.array([[place[id(item)] for item in lane] for lane in lanes])
        predicted = np.array([item.predicted for item in every])
        tokens = np.zeros((len(every), 1 + bucket(int(predicted.max()))), np.int64)
        for row, item in zip(tokens, every, strict=True):
            row[: len(item.tokens)] = item.tokens
        answer = np.array([item.answer for item in every])
        lines, *known = (torch.from_numpy(part).to(device) for part in (index, tokens, predicted, answer))
        return cls(predicted[index], lines, *known)

    def padded(self, items: Tensor, among: slice) -> Padded:
        """The lines of some items of each lane, int64 (lanes, lines), all ``among`` these of its items."""
        longest = int(self.sizes[:, among].max(initial=1))
        lines = self.lines.gather(1, items)
        tokens = self.tokens[:, : 1 + bucket(longest)]
        return Padded(tokens[lines], self.predicted[lines], self.answer[lines], longest)


def windows(text: Tensor, starts: Tensor, size: int) -> Padded:
    """Windows of a text, integers (tokens,), of ``size`` predicted tokens, from ``starts`` on, (lanes, windows)."""
    places = starts[..., None] + torch.arange(size + 1, device=text.device)
    tokens = F.pad(text[places].long(), (0, bucket(size) - size))
    return Padded(tokens, torch.full_like(starts, size), torch.ones_like(starts), size)


@dataclass(frozen=True)
class Batch:
    """Lines of all lanes in one row of tokens, lane after lane, with or without padding behind each.

    Lines of a lane may share tokens that they begin with.

    Attributes:
        tokens: int64, (tokens,).
        positions: int64, (tokens,): from 0 in every line.
        targets: int64, (targets,), line after line; IGNORED where nothing is predicted.
        outputs: int64, (targets,): which of the tokens that are asked for predicts each.
        answers: bool, (targets,), True where the target belongs to the answer or its line end.
        lengths: int64, (lines,): targets of each line; 0 for a line that is left out.
        lanes: tokens of each lane; a lane may have none.
        asked: those of them that are asked for, since they predict a target.
        predicted: targets of each lane.
        packed: where the lines are, for the model's attention; it knows none that are left out.
        time: tokens of each line where all are padded to one length; else 0.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    outputs: Tensor
    answers: Tensor
    lengths: Tensor
    lanes: tuple[int, ...]
    asked: tuple[int, ...]
    predicted: tuple[int, ...]
    packed: Packed
    time: int = 0

    def spread(self, values: Tensor) -> Tensor:
        """A value of each line, of whatever shape, for each of its targets, (targets,)."""
        if self.time:
            return values.reshape(-1, 1).expand(-1, self.time).flatten()
        return values.flatten().repeat_interleave(self.lengths, output_size=sum(self.predicted))

    def line_sums(self, values: Tensor) -> Tensor:
        """Sums over the targets of each line, (lines,)."""
        return self._reduced(values, "sum")

    def line_maxima(self, values: Tensor) -> Tensor:
        """The largest value of each line, (lines,)."""
        return self._reduced(values, "max")

    def _reduced(self, values: Tensor, how: str) -> Tensor:
        numbers = values if values.is_floating_point() else values.float()
        if self.time:
            rows = numbers.view(-1, self.time)
            return rows.sum(1) if how == "sum" else rows.amax(1)
        out: Tensor = torch.segment_reduce(numbers, how, lengths=self.lengths, unsafe=True)
        return out


def batch(lanes: Sequence[Sequence[Line]], device: torch.device) -> Batch:
    """Batch the lines of every lane behind one another; not all lanes may be empty."""
    lines = [item for lane in lanes for item in lane]
    lengths = np.array([item.predicted for item in lines])
    tokens, targets = (np.concatenate([item.tokens[part] for item in lines]) for part in (slice(-1), slice(1, None)))
    positions = np.concatenate([np.arange(length) for length in lengths])
    answers = positions + 1 >= np.repeat([item.answer for item in lines], lengths)
    sizes = tuple(sum(item.predicted for item in lane) for lane in lanes)
    return Batch(
        tokens=torch.from_numpy(tokens.astype(np.int64)).to(device),
        positions=torch.from_numpy(positions).to(device),
        targets=torch.from_numpy(targets.astype(np.int64)).to(device),
        outputs=torch.arange(len(targets), device=device),
        answers=torch.from_numpy(answers).to(device),
        lengths=torch.from_numpy(lengths).to(device),
        lanes=sizes,
        asked=sizes,
        predicted=sizes,
        packed=pack(lengths, device),
    )
