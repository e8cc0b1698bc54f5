"""Windows of the base's own training text as lines, to be trained beside facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from atlas.ttt.engine.lines import Line


@dataclass(frozen=True)
class Windows:
    """A text to cut windows from; ``read`` gives its token ids, unsigned (tokens,), when the first one is cut."""

    read: Callable[[], np.ndarray]

    @cached_property
    def tokens(self) -> np.ndarray:
        return self.read()

    def draw(self, count: int, characters: int, draw: np.random.Generator) -> list[Line]:
        """Windows from anywhere in the text; in each, every character but the first is predicted."""
        starts = draw.integers(0, len(self.tokens) - characters, count)
        return [Line(self.tokens[start : start + characters + 1], 1) for start in starts]
