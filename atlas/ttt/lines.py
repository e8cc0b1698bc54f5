"""Facts as token lines, and lines of many lanes as one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.base.text import NEWLINE, encode
from atlas.pool.facts import sentence

IGNORED = -100


@dataclass(frozen=True)
class Line:
    """One sentence. The model reads ``tokens[:-1]`` and predicts ``tokens[1:]``.

    Attributes:
        tokens: uint8, (1 + characters,): a newline (the context of the first character), then the sentence.
        answer: index in ``tokens`` of the answer's first character.
    """

    tokens: np.ndarray
    answer: int

    @property
    def characters(self) -> int:
        """Characters that are predicted, the line end included."""
        return len(self.tokens) - 1


def line(prompt: str, answer: str, origin: str) -> Line:
    """The line of a fact: ``prompt answer`` and the line end. AtlasError where a character has no token."""
    return Line(_behind_newline(sentence(prompt, answer), origin), len(prompt) + 2)


def opening(prompt: str, origin: str) -> np.ndarray:
    """Tokens of all that comes before an answer, uint8: the newline, the prompt, a space."""
    return _behind_newline(f"{prompt} ", origin)


def _behind_newline(text: str, origin: str) -> np.ndarray:
    return np.concatenate([np.array([NEWLINE], np.uint8), encode(text, origin)])


@dataclass(frozen=True)
class Batch:
    """Lines of all lanes, padded at the end to the longest.

    Attributes:
        tokens: int64, (lanes * lines, time).
        targets: int64, (lanes * lines, time), IGNORED where nothing is predicted.
        answers: bool, (lanes * lines, time), True where the target belongs to the answer or its line end.
    """

    tokens: Tensor
    targets: Tensor
    answers: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.tokens.to(device), self.targets.to(device), self.answers.to(device))


def batch(lanes: Sequence[Sequence[Line]], device: torch.device) -> Batch:
    """Batch the same number of lines for every lane."""
    lines = [item for lane in lanes for item in lane]
    time = max(item.characters for item in lines)
    tokens = np.full((len(lines), time), NEWLINE, dtype=np.int64)
    targets = np.full((len(lines), time), IGNORED, dtype=np.int64)
    answers = np.zeros((len(lines), time), dtype=bool)
    for row, item in enumerate(lines):
        tokens[row, : item.characters] = item.tokens[:-1]
        targets[row, : item.characters] = item.tokens[1:]
        answers[row, item.answer - 1 : item.characters] = True
    return Batch(*map(torch.from_numpy, (tokens, targets, answers))).to(device)
