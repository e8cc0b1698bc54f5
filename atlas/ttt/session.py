"""One session as a course hands it to whatever teaches: its facts, and what is known of those stored before.

To choose the weakest facts exactly, all that was ever taught must be measured after every session, at a cost that grows
with the square of the sessions. Here a recipe measures a bounded number, and chooses by each fact's last known loss:
fresh for what was just trained, stale for the others, of which those that seem weakest and those that were not looked
at for longest are measured again. Only what the recipe itself measures counts: probes never change what is taught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from atlas.draws import rng
from atlas.ttt.engine.descent import OptimiserState
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import ItemTable
from atlas.ttt.run_files import LeftAlone

Draw = Callable[[int, str], np.random.Generator]
"""A fresh generator for a lane and a purpose."""


def drawn_for(base_seed: int, seeds: Sequence[int], session: int) -> Draw:
    """The draws of a session, counted from 1, of lanes that are called by their seeds."""
    return lambda lane, purpose: rng(base_seed, seeds[lane], session, purpose)


@dataclass(frozen=True)
class Estimates:
    """Last known losses of every lane's items; an item is what is trained, a fact in one of its phrasings.

    Attributes:
        losses: float32, (lanes, items); infinite where an item was never measured.
        measured: int64, (lanes, items): the tick at which each one was measured last, 0 for never. Ticks count
            measurements; those of a session all lie behind those of the sessions before it.
    """

    losses: Tensor
    measured: Tensor

    @classmethod
    def none(cls, items: ItemTable) -> Estimates:
        """Nothing is known yet of these items."""
        return cls(torch.full_like(items.lines, torch.inf, dtype=torch.float32), torch.zeros_like(items.lines))

    def note(self, items: Tensor, losses: Tensor, which: Tensor) -> None:
        """Take in what was found of some items of each lane, (lanes, found), as far as ``which``, bool, says so."""
        tick = (self.measured.amax(1, keepdim=True) + 1).expand_as(items)
        for known, found in ((self.losses, losses.to(self.losses.dtype)), (self.measured, tick)):
            known.scatter_(1, items, torch.where(which, found, known.gather(1, items)))

    def to_measure(self, trained: Tensor, most: int, budget: int | None) -> tuple[Tensor, Tensor]:
        """Which items to measure after a session.

        Args:
            trained: bool, (lanes, known), those of the items taught so far that the session trained; they come first.
            most: no lane has trained more.
            budget: how many items to measure beyond these; half of them seem the weakest, half were not measured for
                longest. None: all.

        Returns:
            int64, (lanes, items), and bool: which of them to measure, in each lane the first ones, equally many.
        """
        known = trained.shape[1]
        size = known if budget is None else min(known, most + budget)
        ours = trained.sum(1, keepdim=True)
        count = known if budget is None else (ours.max() + budget).clamp(max=known)
        turn = torch.arange(known, device=trained.device).expand_as(trained)
        weakness = later(self.losses[:, :known].neg().argsort(dim=1, stable=True), trained).argsort(dim=1)
        weak = ~trained & (weakness < (count - ours) // 2)
        age = self.measured[:, :known].argsort(dim=1, stable=True).argsort(dim=1)
        places = torch.where(trained, turn, torch.where(weak, known + weakness, 2 * known + age))
        return places.argsort(dim=1)[:, :size], turn[:, :size] < count


def later(order: Tensor, which: Tensor) -> Tensor:
    """An order of items with some of them, bool (lanes, items), behind all others; int64 as ``order``."""
    return order.gather(1, which.gather(1, order).byte().argsort(dim=1, stable=True))


@dataclass(frozen=True)
class Session:
    """One session of all lanes.

    A lane's items are those of its facts in the order of teaching, phrasing after phrasing, so that what a session
    teaches lies behind all that was taught before.

    Attributes:
        items: of each lane, those of later sessions included.
        stored: items taught before this session; ``new`` more are taught by it.
        estimates: what is known of the items' losses; teaching adds to it.
        draw: random draws of the session.
    """

    items: ItemTable
    stored: int
    new: int
    estimates: Estimates
    draw: Draw

    @property
    def lanes(self) -> int:
        return len(self.items.lines)

    @property
    def known(self) -> int:
        """Items that are taught when it ends."""
        return self.stored + self.new

    def drawn(self, purpose: str, count: int, one: Callable[[np.random.Generator], np.ndarray]) -> Iterator[Tensor]:
        """So many draws of each lane for a purpose, all made and uploaded now: (lanes, ...) each."""
        if not count:
            return iter(())
        lanes = [self.draw(lane, purpose) for lane in range(self.lanes)]
        draws = np.stack([np.stack([one(draw) for _ in range(count)]) for draw in lanes], axis=1)
        return iter(upload(draws, self.items.lines.device))


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """An array on the device, which is not waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass(frozen=True)
class Trace:
    """How a phase of a session went.

    Attributes:
        losses: (points, lanes): of the facts of each step, before it; of an editor, whose search shows no more, before
            and after it. NaN where a lane had ended.
        steps: int64, (lanes,): that were taken; of an editor on average over the facts.
        tokens: int64, (lanes,): that the loss was taken over, each as often as it was.
        unwritten: bool, (lanes, facts): facts that an editor had to leave out, since no finite numbers came of them;
            (lanes, 0) of what trains.
    """

    losses: Tensor
    steps: Tensor
    tokens: Tensor
    unwritten: Tensor


@dataclass
class Learner:
    """All that teaching changes; on the device from session to session.

    Attributes:
        theta: what was added to the base: adapters, or changes of whole matrices; float32 (lanes, parameters).
        optimisers: of those phases that remember, in order.
        importance: of each parameter for the facts taught so far, float32 (lanes, parameters); (lanes, 0) where no
            phase goes by it.
        written: of an editor that looks back what it knows of the facts written so far, float32 (lanes, layers, in,
            in); (lanes, 0, 0, 0) for all others.
    """

    theta: Tensor
    optimisers: list[OptimiserState]
    importance: Tensor
    written: Tensor


class Teacher(Protocol):
    """Teaches the sessions of all lanes, one after the other: a recipe that trains, or an editor."""

    @property
    def adapters(self) -> LaneModel:
        """What it changes of the model."""

    @property
    def left_alone(self) -> LeftAlone | None:
        """Of an editor, the text whose keys it leaves alone."""

    @property
    def phases(self) -> Mapping[str, float]:
        """The phases of a session, in order, with the learning rate of each at its peak."""

    def learner(self, theta: Tensor) -> Learner:
        """A learner that starts from ``theta``, float32 (lanes, parameters)."""

    def teaches(self, facts: int) -> bool:
        """Whether the session that ends with so many facts is one that changes anything."""

    def session(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace]]:
        """Teach one session, and measure what later ones go by; ``learner`` is not changed.

        Returns:
            The learner after it, and a trace for each phase that there was.
        """
