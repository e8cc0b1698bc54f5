"""One session as a course hands it to whatever teaches: its facts, and what is known of those stored before.

To choose the weakest facts exactly, all that was ever taught must be measured after every session, at a cost that grows
with the square of the sessions. Here a recipe measures a bounded number, and chooses by each fact's last known loss:
fresh for what was just trained, stale for the others, of which those that seem weakest and those that were not looked
at for longest are measured again. Only what the recipe itself measures counts: probes never change what is taught.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from atlas.ttt.engine.descent import OptimiserState
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import Line

Draw = Callable[[int, str], np.random.Generator]
"""A fresh generator for a lane and a purpose."""


@dataclass(frozen=True)
class Estimates:
    """Last known losses of every lane's items; an item is what is trained, a fact in one of its phrasings.

    Attributes:
        losses: float32, (lanes, items); infinite where an item was never measured.
        measured: int64, (lanes, items): the tick at which each one was measured last, 0 for never. Ticks count
            measurements; those of a session all lie behind those of the sessions before it.
    """

    losses: np.ndarray
    measured: np.ndarray

    @classmethod
    def none(cls, lanes: int, items: int) -> Estimates:
        """Nothing is known yet."""
        return cls(np.full((lanes, items), np.inf, np.float32), np.zeros((lanes, items), np.int64))

    def note(self, lane: int, columns: np.ndarray, losses: np.ndarray) -> None:
        """Take in what was found of a lane's items ``columns``."""
        self.losses[lane, columns] = losses
        self.measured[lane, columns] = self.measured[lane].max() + 1

    def to_measure(self, known: int, trained: Sequence[np.ndarray], budget: int | None) -> np.ndarray:
        """Which items to measure after a session.

        Args:
            known: items taught so far, the first ones of each lane.
            trained: of each lane, the items that the session trained; they come first.
            budget: how many items to measure beyond these; half of them seem the weakest, half were not measured for
                longest. None: all.

        Returns:
            int64, (lanes, measured).
        """
        count = known if budget is None else min(known, max(map(len, trained)) + budget)
        asked = []
        for losses, measured, some in zip(self.losses, self.measured, trained, strict=True):
            rest = np.setdiff1d(np.arange(known), some)
            weakest = rest[np.argsort(-losses[rest], kind="stable")][: (count - len(some)) // 2]
            rest = np.setdiff1d(rest, weakest)
            oldest = rest[np.argsort(measured[rest], kind="stable")]
            asked.append(np.concatenate([some, weakest, oldest])[:count])
        return np.stack(asked)


@dataclass(frozen=True)
class Session:
    """One session of all lanes.

    A lane's items are those of its facts in the order of teaching, phrasing after phrasing, so that what a session
    teaches lies behind all that was taught before.

    Attributes:
        lines: the items of each lane, those of later sessions included.
        stored: items taught before this session; ``new`` more are taught by it.
        estimates: what is known of the items' losses; teaching adds to it.
        draw: random draws of the session.
    """

    lines: Sequence[Sequence[Line]]
    stored: int
    new: int
    estimates: Estimates
    draw: Draw

    @property
    def lanes(self) -> int:
        return len(self.lines)


@dataclass(frozen=True)
class Trace:
    """How a phase of a session went.

    Attributes:
        losses: float32, (points, lanes): of the facts of each step, before it; of an editor, whose search shows no
            more, before and after it. NaN where a lane had ended.
        steps: int64, (lanes,): that were taken; of an editor on average over the facts.
        tokens: int64, (lanes,): that the loss was taken over, each as often as it was.
    """

    losses: np.ndarray
    steps: np.ndarray
    tokens: np.ndarray


@dataclass
class Learner:
    """All that teaching changes.

    Attributes:
        theta: what was added to the base: adapters, or changes of whole matrices; float32 (lanes, parameters).
        optimisers: of those phases that remember, in order.
        importance: of each parameter for the facts taught so far, float32 (lanes, parameters); (lanes, 0) where no
            phase goes by it.
        written: of an editor that looks back what it knows of the facts written so far, float32 (lanes, layers, in,
            in); (lanes, 0, 0, 0) for all others.
    """

    theta: np.ndarray
    optimisers: list[OptimiserState]
    importance: np.ndarray
    written: np.ndarray


class Teacher(Protocol):
    """Teaches the sessions of all lanes, one after the other: a recipe that trains, or an editor."""

    @property
    def adapters(self) -> LaneModel:
        """What it changes of the model."""

    @property
    def phases(self) -> Mapping[str, float]:
        """The phases of a session, in order, with the learning rate of each at its peak."""

    def learner(self, theta: np.ndarray) -> Learner:
        """A learner that starts from ``theta``, float32 (lanes, parameters)."""

    def teaches(self, facts: int) -> bool:
        """Whether the session that ends with so many facts is one that changes anything."""

    def session(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace]]:
        """Teach one session, and measure what later ones go by; ``learner`` is not changed.

        Returns:
            The learner after it, and a trace for each phase that there was.
        """
