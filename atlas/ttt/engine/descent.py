"""Gradient descent of all lanes' adapters, each lane by itself: its own clip, its own memory, its own end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.study.recipes import Anchor, Phase
from atlas.ttt.engine.lora import Adapters


@dataclass
class Memory:
    """What an optimiser remembers of every lane.

    Attributes:
        steps: int64, (lanes,): steps taken.
        mean, square: float32, (lanes, parameters): running means of the gradients and of their squares.
    """

    steps: np.ndarray
    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def none(cls, lanes: int, parameters: int) -> Memory:
        """Nothing to remember yet."""
        mean, square = np.zeros((2, lanes, parameters), np.float32)
        return cls(np.zeros(lanes, np.int64), mean, square)


class Descent:
    """Trains a copy of the adapters.

    Args:
        adapters: the model's; they run with the copy until something else is bound.
        theta: where it starts, (lanes, parameters); not changed.
        phase: rates, optimiser and anchor.
        clip: largest gradient norm of a lane.
        memory: what the optimiser knows already.
        importance: of each parameter, (lanes, parameters), for an anchor that goes by it.
    """

    def __init__(
        self,
        adapters: Adapters,
        theta: Tensor,
        phase: Phase,
        clip: float,
        memory: Memory,
        importance: Tensor | None = None,
    ) -> None:
        self.theta, self.phase, self.clip, self.importance = theta, phase, clip, importance
        self.live, self.grad = theta.clone(), torch.zeros_like(theta)
        adapters.train(self.live, self.grad)
        self._lanes = list(self.live.unbind())
        self._optimiser = self._made(memory)

    def _made(self, memory: Memory) -> torch.optim.Optimizer:
        """An optimiser that has a parameter a lane, so that a lane without a gradient stays as it is."""
        rules = self.phase.optimiser
        mean, square = (torch.from_numpy(part).to(self.live) for part in (memory.mean.copy(), memory.square.copy()))
        if rules.kind == "sgd":
            optimiser: Any = torch.optim.SGD(self._lanes, self.phase.lr, rules.momentum, fused=True)
            for lane, part in enumerate(self._lanes):
                optimiser.state[part] = {"momentum_buffer": mean[lane]}
        else:
            optimiser = torch.optim.Adam(self._lanes, self.phase.lr, (rules.momentum, rules.variance), fused=True)
            for lane, part in enumerate(self._lanes):
                steps = torch.tensor(float(memory.steps[lane]), device=part.device)
                optimiser.state[part] = {"step": steps, "exp_avg": mean[lane], "exp_avg_sq": square[lane]}
        self._mean, self._square, self._steps = mean, square, memory.steps.copy()
        return optimiser  # type: ignore[no-any-return]

    def step(self, loss: Tensor, running: np.ndarray, progress: float) -> None:
        """One step of the lanes that are ``running``.

        Args:
            loss: of each lane, (lanes,), with a graph; lanes share no weights, so each gets the gradient of its own.
            running: bool, (lanes,).
            progress: from 0 at the first step to 1 behind the last possible one; the schedule goes by it.
        """
        self.grad.zero_()
        torch.autograd.backward(loss.sum())
        if self.phase.anchor:
            self._pull(self.phase.anchor)
        norms = self.grad.norm(dim=1, keepdim=True)
        self.grad.mul_((self.clip / norms.clamp(min=1e-12)).clamp(max=1.0))
        for lane, part in enumerate(self._lanes):
            part.grad = self.grad[lane] if running[lane] else None
        for group in self._optimiser.param_groups:
            group["lr"] = self.phase.lr * schedule(self.phase.schedule, progress)
        self._optimiser.step()
        self._steps += running

    def _pull(self, anchor: Anchor) -> None:
        """Add the gradient of ``weight`` times the squared distance from the anchor."""
        away = self.live - self.theta if anchor.to == "start" else self.live
        if anchor.by == "importance":
            assert self.importance is not None
            away = away * self.importance
        self.grad.add_(away, alpha=2 * anchor.weight)

    def blended(self) -> Tensor:
        """The adapters with the copy blended in, (lanes, parameters)."""
        return self.theta.lerp(self.live, self.phase.blend)

    def memory(self) -> Memory:
        """What the optimiser remembers now."""
        return Memory(self._steps, self._mean.cpu().numpy(), self._square.cpu().numpy())


def schedule(kind: str, progress: float) -> float:
    """The rate's share of its peak."""
    if kind == "linear":
        return 1 - progress
    return (1 + math.cos(math.pi * progress)) / 2 if kind == "cosine" else 1.0
