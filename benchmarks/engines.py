"""The engines that are compared: what each does with a task, behind the same three methods.

Losses of training come as float32 (steps, lanes), scores as nats per character (lanes, facts).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from atlas.ttt.lines import batch
from atlas.ttt.lora import Adapters
from atlas.ttt.recipe import Trainer
from atlas.ttt.scoring import score
from benchmarks.tasks import Task

CPU = torch.device("cpu")


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
        self.trainer = Trainer(self.adapters, task.recipe, CPU)
        self.lines = batch(task.lines, CPU)

    def steps(self, count: int) -> np.ndarray:
        rate = self.task.phases[0].lr
        return self.trainer.descend(self.task.theta, [self.lines] * count, rate, anchor=0.0)[1].losses

    def session(self) -> np.ndarray:
        new, lines = self.task.new, self.task.lines
        _, fast, slow = self.trainer.session(
            self.task.theta, [lane[:new] for lane in lines], [lane[new:] for lane in lines], self.task.orders()
        )
        return np.concatenate([fast.losses, slow.losses])

    def score(self) -> np.ndarray:
        self.adapters.bind(self.task.theta)
        return score(self.adapters, self.task.lines, CPU).nll
