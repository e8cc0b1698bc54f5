"""The engines that are compared: what each does with a task, behind the same method."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from atlas.study.recipes import Recipe
from atlas.ttt.engine.lines import ItemTable
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.recipe import Trainer
from atlas.ttt.session import Estimates, Session
from benchmarks.tasks import Task


class Engine(Protocol):
    """Does a task, always from the same start."""

    def steps(self, count: int) -> np.ndarray:
        """Train on the task's batch so many times; losses (steps, lanes)."""
        ...


class Atlas:
    """Atlas's engine: all lanes at once."""

    def __init__(self, task: Task) -> None:
        self.task = task
        ranks = [task.rank] * task.layers
        self.adapters = Adapters.attach(task.model(), task.arm.targets, ranks, task.study.alpha)
        self.trainer = Trainer(self.adapters, task.recipe, task.device, task.text)
        self.learner = self.trainer.learner(task.theta)
        self.items = ItemTable.of(task.lines, task.device)

    def steps(self, count: int) -> np.ndarray:
        session = self._session(len(self.task.lines[0]))
        recipe = Recipe(preset="steps", clip=self.task.recipe.clip, phases={"all": self.task.steps(count)})
        _, (trace,), _ = Trainer(self.adapters, recipe, self.task.device).train(self.learner, session)
        return trace.losses.cpu().numpy()

    def session(self) -> np.ndarray:
        """Teach one session of the recipe; losses (steps, lanes)."""
        _, traces, _ = self.trainer.train(self.learner, self._session(self.task.new))
        return np.concatenate([trace.losses.cpu().numpy() for trace in traces])

    def _session(self, new: int) -> Session:
        """The task's facts, of which the last ``new`` are new."""
        stored = self.items.sizes.shape[1] - new
        return Session(self.items, stored, new, Estimates.none(self.items), self.task.draw)
