"""One step of training: the loss of all lanes, and gradient descent of each by itself: its own clip, state, end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.base import optimisers
from atlas.study.recipes import Phase
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import Batch, Line, batch
from atlas.ttt.engine.scoring import Scores, token_nll


@dataclass(frozen=True)
class Loss:
    """What a pass over facts, and beside them windows of the base's text, found; with a graph.

    Attributes:
        total: (lanes,): mean nats per token over a lane's facts, and the weighted mean over its text.
        facts: (lanes,): the first of the two, without a graph; 0 where a lane had no facts.
        lines: the batch; ``of_facts``, int64 (facts,), are the places of its lines that are facts.
        tokens: int64, (lanes,): that the loss was taken over.
    """

    total: Tensor
    facts: Tensor
    lines: Batch
    of_facts: np.ndarray
    tokens: np.ndarray
    nll: Tensor
    logits: Tensor

    def scores(self) -> Scores:
        """Scores of the facts, lane after lane, (facts,)."""
        return Scores.of(self.lines, self.nll.detach(), self.logits.detach()).at(self.of_facts)


def loss(
    model: LaneModel,
    facts: Sequence[Sequence[Line]],
    text: Sequence[Sequence[Line]],
    over: str,
    weight: float,
    device: torch.device,
    even: bool = False,
) -> Loss:
    """Run facts and text of every lane.

    Args:
        model: bound to what is trained.
        facts, text: lines of each lane; a lane may have none.
        over: ``sentence`` or ``answer``: the tokens of facts that count. All of a text's do.
        weight: of the mean over the text.
        even: see ``atlas.ttt.engine.lines.batch``.
    """
    of_facts = [[one.counted(over) for one in lane] for lane in facts]  # tokens that count, line by line
    of_text = [[one.predicted for one in lane] for lane in text]
    asked = [[*ours, *more] for ours, more in zip(of_facts, of_text, strict=True)] if over == "answer" else None
    lines = batch([[*ours, *more] for ours, more in zip(facts, text, strict=True)], device, even, asked)
    nll, logits = token_nll(model, lines)
    shares, owners, are_facts = [], [], []  # of each line: what a token of it counts, its lane, whether it is a fact
    for lane, (ours, more) in enumerate(zip(of_facts, of_text, strict=True)):
        shares += [1 / sum(ours) for _ in ours] + [weight / sum(more) for _ in more]
        owners += [lane] * (len(ours) + len(more))
        are_facts += [True] * len(ours) + [False] * len(more)
    counted = nll * lines.answers if over == "answer" else nll
    real, into = torch.from_numpy(lines.real).to(device), torch.tensor(owners, device=device)
    sums = lines.line_sums(counted)[real] * torch.tensor(shares, dtype=nll.dtype, device=device)
    alone = sums.detach() * torch.tensor(are_facts, device=device)
    return Loss(
        total=nll.new_zeros(len(facts)).index_add(0, into, sums),
        facts=nll.new_zeros(len(facts)).index_add(0, into, alone),
        lines=lines,
        of_facts=np.flatnonzero(lines.real)[np.array(are_facts)],
        tokens=np.array([sum(ours) + sum(more) for ours, more in zip(of_facts, of_text, strict=True)]),
        nll=nll,
        logits=logits,
    )


@dataclass
class OptimiserState:
    """What an optimiser knows of every lane.

    Attributes:
        steps: int64, (lanes,): steps taken.
        mean, square: float32, (lanes, parameters): running means of the gradients and of their squares.
    """

    steps: np.ndarray
    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def none(cls, lanes: int, parameters: int) -> OptimiserState:
        """Nothing is known yet."""
        mean, square = np.zeros((2, lanes, parameters), np.float32)
        return cls(np.zeros(lanes, np.int64), mean, square)


class Descent:
    """Trains a copy of what lanes added.

    Args:
        model: runs with the copy until something else is bound.
        theta: where it starts, (lanes, parameters); not changed.
        phase: rates, optimiser and anchor.
        clip: largest gradient norm of a lane.
        state: what the optimiser knows already.
        importance: of each parameter, (lanes, parameters), for an anchor that goes by it.
    """

    def __init__(
        self,
        model: LaneModel,
        theta: Tensor,
        phase: Phase,
        clip: float,
        state: OptimiserState,
        importance: Tensor | None = None,
    ) -> None:
        self.theta, self.phase, self.clip, self.importance = theta, phase, clip, importance
        self.live, self.grad = theta.clone(), torch.zeros_like(theta)
        model.train(self.live, self.grad)
        self._lanes = list(self.live.unbind())
        self._steps = state.steps.copy()
        self._mean, self._square = (torch.from_numpy(x.copy()).to(self.live) for x in (state.mean, state.square))
        rules = phase.optimiser  # it has a parameter a lane, so that a lane without a gradient stays as it is
        if rules.kind == "sgd":
            self._optimiser: Any = optimisers.SGD(self._lanes, phase.lr, rules.momentum, fused=True)
            for part, mean in zip(self._lanes, self._mean, strict=True):
                self._optimiser.state[part] = {"momentum_buffer": mean}
        else:
            self._optimiser = optimisers.Adam(self._lanes, phase.lr, (rules.momentum, rules.variance), fused=True)
            for part, steps, mean, square in zip(self._lanes, self._steps, self._mean, self._square, strict=True):
                taken = torch.tensor(float(steps), device=part.device)
                self._optimiser.state[part] = {"step": taken, "exp_avg": mean, "exp_avg_sq": square}

    def step(self, loss: Tensor, running: np.ndarray, progress: float) -> None:
        """One step of the lanes that are ``running``.

        Args:
            loss: of each lane, (lanes,), with a graph; lanes share no weights, so each gets the gradient of its own.
            running: bool, (lanes,).
            progress: from 0 at the first step to 1 behind the last possible one; the schedule goes by it.
        """
        self.grad.zero_()
        torch.autograd.backward(loss.sum())
        if anchor := self.phase.anchor:  # add the gradient of ``weight`` times the squared distance from the anchor
            away = self.live - self.theta if anchor.to == "start" else self.live
            if anchor.by == "importance":
                assert self.importance is not None
                away = away * self.importance
            self.grad.add_(away, alpha=2 * anchor.weight)
        norms = self.grad.norm(dim=1, keepdim=True)
        self.grad.mul_((self.clip / norms.clamp(min=1e-12)).clamp(max=1.0))
        for lane, part in enumerate(self._lanes):
            part.grad = self.grad[lane] if running[lane] else None
        share = 1.0  # of the rate's peak
        if self.phase.schedule == "linear":
            share = 1 - progress
        elif self.phase.schedule == "cosine":
            share = (1 + math.cos(math.pi * progress)) / 2
        for group in self._optimiser.param_groups:
            group["lr"] = self.phase.lr * share
        self._optimiser.step()
        self._steps += running

    def blended(self) -> Tensor:
        """``theta`` with the copy blended in, (lanes, parameters)."""
        return self.theta.lerp(self.live, self.phase.blend)

    def state(self) -> OptimiserState:
        """What the optimiser knows now."""
        return OptimiserState(self._steps, self._mean.cpu().numpy(), self._square.cpu().numpy())
