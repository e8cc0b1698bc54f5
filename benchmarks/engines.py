"""The engines that are compared: what each does with a task, behind the same three methods.

Losses of training come as float32 (steps, lanes), scores as nats per character (lanes, facts).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from atlas.study.recipes import Recipe
from atlas.ttt.engine.lines import ItemTable
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score
from atlas.ttt.recipe import Trainer
from atlas.ttt.session import Estimates, Session
from benchmarks.tasks import Task


class Engine(Protocol):
    """Does a task, always from the same start."""

    def steps(self, count: int) -> np.ndarray:
        """Train on the task's batch so many times; losses (steps, lanes)."""
        ...

    def session(self) -> np.ndarray:
        """Teach one session of the recipe, both phases; losses (steps, lanes)."""
        ...

    def score(self) -> np.ndarray:
        """Score every fact; nats per character (lanes, facts)."""
        ...


def sample(engine: Engine, task: Task, steps: int | None = None) -> np.ndarray:
    """Do a task once, and return what came out: losses or scores."""
    if task.setting.work == "step":
        return engine.steps(steps or task.setting.steps)
    return engine.session() if task.setting.work == "session" else engine.score()


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
        _, traces, _ = self.trainer.train(self.learner, self._session(self.task.new))
        return np.concatenate([trace.losses.cpu().numpy() for trace in traces])

    def _session(self, new: int) -> Session:
        """The task's facts, of which the last ``new`` are new."""
        stored = self.items.sizes.shape[1] - new
        return Session(self.items, stored, new, Estimates.none(self.items), self.task.draw)

    def score(self) -> np.ndarray:
        self.adapters.bind(self.task.theta)
        return score(self.adapters, self.task.lines, self.task.device).nll
