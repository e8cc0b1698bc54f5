"""Windows of the base's own training text as lines, to be trained beside facts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.ttt.lines import Line


@dataclass(frozen=True)
class Windows:
    """A text to cut windows from: token ids, uint8 (characters,)."""

    tokens: np.ndarray

    def draw(self, count: int, characters: int, draw: np.random.Generator) -> list[Line]:
        """Windows from anywhere in the text; in each, every character but the first is predicted."""
        starts = draw.integers(0, len(self.tokens) - characters, count)
        return [Line(self.tokens[start : start + characters + 1], 1) for start in starts]
