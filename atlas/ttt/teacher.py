"""What a course asks of whatever teaches its sessions: a recipe that trains, or an editor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from atlas.ttt.engine.descent import Memory
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.lesson import Lesson


@dataclass(frozen=True)
class Trace:
    """How a phase went.

    Attributes:
        losses: float32, (points, lanes): of the facts of each step, before it; of an editor, whose search shows no
            more, before and after it. NaN where a lane had ended.
        steps: int64, (lanes,): that were taken; of an editor on average over the facts.
        characters: int64, (lanes,): that the loss was taken over, each as often as it was.
    """

    losses: np.ndarray
    steps: np.ndarray
    characters: np.ndarray

    def of(self, lane: int) -> np.ndarray:
        """The losses of one lane, (points,)."""
        losses: np.ndarray = self.losses[np.isfinite(self.losses[:, lane]), lane]
        return losses


@dataclass
class Learner:
    """All that teaching changes.

    Attributes:
        theta: what was added to the base: adapters, or changes of whole matrices; float32 (lanes, parameters).
        memories: of the optimisers of those phases that remember, in order.
        importance: of each parameter for the facts taught so far, float32 (lanes, parameters); (lanes, 0) where no
            phase goes by it.
        written: of an editor that looks back what it knows of the facts written so far, float32 (lanes, layers, in,
            in); (lanes, 0, 0, 0) for all others.
    """

    theta: np.ndarray
    memories: list[Memory]
    importance: np.ndarray
    written: np.ndarray


class Teacher(Protocol):
    """Teaches the sessions of all lanes, one after the other."""

    @property
    def adapters(self) -> Adapters:
        """What it changes of the model."""

    @property
    def phases(self) -> Mapping[str, float]:
        """The phases of a session, in order, with the rate of each at its peak."""

    def learner(self, theta: np.ndarray) -> Learner:
        """A learner that starts from ``theta``, float32 (lanes, parameters)."""

    def teaches(self, facts: int) -> bool:
        """Whether the session that ends with so many facts is one that changes anything."""

    def session(self, learner: Learner, lesson: Lesson) -> tuple[Learner, list[Trace], list[np.ndarray]]:
        """Teach one session; ``learner`` is not changed.

        Returns:
            The learner after it; a trace for each phase that there was; and of each lane the stored items that were
            trained without noting what is known of them since.
        """
