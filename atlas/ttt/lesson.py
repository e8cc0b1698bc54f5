"""What a session may train on, and which of it each step of a phase trains.

Items are what is trained: a fact in one of its phrasings. A lane's items are those of its facts in the order of
teaching, form after form, so that what a session teaches lies behind all that was taught before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.study.recipes import Phase, Rehearsal
from atlas.ttt.engine.lines import Line
from atlas.ttt.estimates import Estimates

Draw = Callable[[int, str], np.random.Generator]
"""A fresh generator for a lane and a purpose."""


@dataclass(frozen=True)
class Lesson:
    """One session of all lanes.

    Attributes:
        lines: the items of each lane, those of later sessions included.
        stored: items taught before this session; ``new`` more are taught by it.
        estimates: what is known of the items' losses; training adds to it.
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


class Items:
    """The items that a phase trains, step by step.

    Args:
        phase: which facts, how many a step, and when stored ones are chosen anew.
        name: of the phase; part of the key of its draws.
    """

    def __init__(self, phase: Phase, name: str, lesson: Lesson) -> None:
        self.phase, self.lesson = phase, lesson
        self.orders = [lesson.draw(lane, f"{name} order") for lane in range(lesson.lanes)]
        self.draws = [lesson.draw(lane, f"{name} rehearsal") for lane in range(lesson.lanes)]
        self.chosen = self._choose()

    @property
    def count(self) -> int:
        """Items of the phase, of a lane: the same for all lanes."""
        return len(self.chosen[0])

    def are_new(self, items: np.ndarray) -> np.ndarray:
        """Which of some items this session teaches first, bool (items,)."""
        return items >= self.lesson.stored

    def needed(self, facts: str) -> int:
        """Items that have to be known for the phase to end: ``all``, or the ``new`` ones."""
        return self.count if facts == "all" else int(self.are_new(self.chosen[0]).sum())

    @property
    def rehearsed(self) -> list[np.ndarray]:
        """Of each lane, the stored items among them."""
        return [items[items < self.lesson.stored] for items in self.chosen]

    @property
    def most_steps(self) -> int:
        """Steps that the phase has at most."""
        if self.phase.steps is not None:
            return self.phase.steps
        assert self.phase.epochs is not None
        return self.phase.epochs * -(-self.count // (self.phase.batch or max(1, self.count)))

    def steps(self) -> Iterator[list[np.ndarray]]:
        """Of each lane the items of a step, for every step; what training noted before a step decides its choice."""
        every = self.phase.rehearsal.every if self.phase.rehearsal else None
        left: list[list[np.ndarray]] = []
        for step in range(self.most_steps):
            if step and every and step % every == 0:
                self.chosen, left = self._choose(), []
            left = left or self._epoch()
            yield left.pop(0)

    def _epoch(self) -> list[list[np.ndarray]]:
        """The steps of one pass over the chosen items, in an order of its own; a step has the items of each lane."""
        size = self.phase.batch
        if size is None or size >= self.count:
            return [self.chosen]
        shuffled = [items[order.permutation(self.count)] for items, order in zip(self.chosen, self.orders, strict=True)]
        return [[items[at : at + size] for items in shuffled] for at in range(0, self.count, size)]

    def _choose(self) -> list[np.ndarray]:
        lesson = self.lesson
        new = np.arange(lesson.stored, lesson.stored + lesson.new if self.phase.new else lesson.stored)
        return [np.concatenate([new, self._stored(lane)]) for lane in range(lesson.lanes)]

    def _stored(self, lane: int) -> np.ndarray:
        if self.phase.rehearsal is None:
            return np.arange(0)
        stored = slice(self.lesson.stored)
        known = self.lesson.estimates
        return rehearse(
            self.phase.rehearsal, known.losses[lane, stored], known.measured[lane, stored], self.draws[lane]
        )


def rehearse(choice: Rehearsal, losses: np.ndarray, measured: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Which stored items of one lane are trained again.

    Args:
        choice: how many (fewer where fewer are stored), and which: weakest or random, and a share of the unseen.
        losses: (stored,), as last known; the greatest are the weakest items.
        measured: (stored,), when each was measured last.
        draw: used for the random choice only.

    Returns:
        Indices into ``losses``, at most ``choice.facts`` of them.
    """
    unseen = np.argsort(measured, kind="stable")[: round(choice.unseen * min(choice.facts, len(losses)))]
    order = draw.permutation(len(losses)) if choice.choice == "random" else np.argsort(-losses, kind="stable")
    others = order[~np.isin(order, unseen)]
    return np.concatenate([others[: choice.facts - len(unseen)], unseen])
