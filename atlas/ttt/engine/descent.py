"""One step of training: the loss of all lanes, and gradient descent of each by itself: its own clip, state, end.

All of it stays on the device: no step waits for what another one found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atlas.study.recipes import Phase, TextMix
from atlas.ttt.engine.lanes import LaneModel, Pull
from atlas.ttt.engine.layouts import Layout
from atlas.ttt.engine.lines import IGNORED, Batch, Padded

EPSILON = 1e-8  # of Adam


@dataclass(frozen=True)
class Loss:
    """What a pass over facts, and beside them windows of the base's text, found.

    Attributes:
        facts: (lanes,): mean nats per token over a lane's facts.
        tokens: int64, (lanes,): that the loss was taken over.
        lines: the batch: of each lane ``count`` facts, then its text.
        nll, logits: of the tokens that are asked for, (asked,) and (asked, symbols).
    """

    facts: Tensor
    tokens: Tensor
    lines: Batch
    count: int
    nll: Tensor
    logits: Tensor

    def sentence(self) -> Tensor:
        """Mean nats over the tokens of each fact that were asked for, (lanes, facts)."""
        return self._sums(self.nll) / self._sums(self.lines.targets != IGNORED)

    def answer(self) -> Tensor:
        """Mean nats over those of each answer, (lanes, facts)."""
        return self._sums(self.nll * self.lines.answers) / self._sums(self.lines.answers)

    def worst(self) -> Tensor:
        """Nats of each answer's least likely token, (lanes, facts)."""
        return self._by_fact(self.lines.line_maxima(self.nll * self.lines.answers))

    def recalled(self) -> Tensor:
        """Whether every token of an answer is the likeliest, bool (lanes, facts)."""
        return self._sums((self.logits.argmax(-1) != self.lines.targets) & self.lines.answers) == 0

    def _sums(self, values: Tensor) -> Tensor:
        return self._by_fact(self.lines.line_sums(values))

    def _by_fact(self, values: Tensor) -> Tensor:
        return values.view(len(self.tokens), -1)[:, : self.count]


def descend(
    model: LaneModel, layout: Layout, lines: Padded, count: int, keep: Tensor, over: str, text: TextMix | None = None
) -> Loss:
    """Run facts and text of every lane, and add up the gradients of what trains.

    The loss of a lane is the mean nats per token over its facts, and by its weight that over its text: of the text
    itself, or of tokens drawn from the base's own predictions, which differs from the Kullback-Leibler divergence from
    these by what nobody trains. Lanes share no weights, so each gets the gradient of its own.

    Args:
        model: bound to what is trained.
        layout: how they run together.
        lines: of each lane ``count`` facts, then its text.
        keep: bool, (lanes, lines), False where nobody looks at what comes out of a line.
        over: ``sentence`` or ``answer``: the tokens of facts that count. All of a text's do.
        text: how much the mean over the text counts, and what it is pulled toward; None where there is no text.
    """
    made, counted = layout.batch(lines, keep, over), lines.counted(over).double()
    parts = (counted[:, :count], 1.0), (counted[:, count:], text.weight if text else 0.0)
    shares = torch.cat([(weighs / some.sum(1, keepdim=True)).expand_as(some) for some, weighs in parts], dim=1)
    counts = made.spread(shares.to(model.model.head.dtype)) * (made.answers if over == "answer" else 1)
    pull = None
    if text and text.toward == "base":
        windows = layout.batch(lines.columns(slice(count, None)), keep[:, count:], "sentence")
        pull = Pull.last_of(made, windows.predicted, model.base_logits(windows).softmax(-1))
    return _loss(lines, count, over, made, *model.descend(made, counts, pull))


def look(model: LaneModel, layout: Layout, lines: Padded, keep: Tensor, over: str) -> Loss:
    """Run facts of every lane alone, and look at all their tokens; arguments as of ``descend``."""
    made = layout.batch(lines, keep, "sentence")
    return _loss(lines, keep.shape[1], over, made, *model.nll(made))


def _loss(lines: Padded, count: int, over: str, made: Batch, nll: Tensor, logits: Tensor) -> Loss:
    sums = made.line_sums(nll * made.answers if over == "answer" else nll).view(lines.predicted.shape)
    counted = lines.counted(over)
    return Loss(sums[:, :count].sum(1) / counted[:, :count].sum(1), counted.sum(1), made, count, nll, logits)


@dataclass
class OptimiserState:
    """What an optimiser knows of every lane.

    Attributes:
        steps: float32, (lanes,), as PyTorch counts them: steps taken.
        mean, square: (lanes, parameters): running means of the gradients and of their squares.
    """

    steps: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def none(cls, theta: Tensor) -> OptimiserState:
        """Nothing is known yet of what is in ``theta``, (lanes, parameters)."""
        return cls(theta.new_zeros(len(theta), dtype=torch.float32), torch.zeros_like(theta), torch.zeros_like(theta))

    def copy(self) -> OptimiserState:
        return OptimiserState(self.steps.clone(), self.mean.clone(), self.square.clone())


class Descent:
    """Trains a copy of what lanes added.

    Args:
        model: runs with the copy until something else is bound.
        theta: where it starts, (lanes, parameters); not changed.
        phase: rates, optimiser and anchor.
        clip: largest gradient norm of a lane.
        state: what the optimiser knows already; not changed.
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
        self.live, self.grad, self.state = theta.clone(), torch.zeros_like(theta), state.copy()
        model.train(self.live, self.grad)

    def step(self, running: Tensor, progress: float) -> None:
        """One step of the lanes that are ``running``, by the gradients that were added up since the last one.

        Args:
            running: bool, (lanes,).
            progress: from 0 at the first step to 1 behind the last possible one; the schedule goes by it.
        """
        if anchor := self.phase.anchor:  # add the gradient of ``weight`` times the squared distance from the anchor
            away = self.live - self.theta if anchor.to == "start" else self.live
            if anchor.by == "importance":
                assert self.importance is not None
                away = away * self.importance
            self.grad.add_(away, alpha=2 * anchor.weight)
        norms = self.grad.norm(dim=1, keepdim=True)
        self.grad.mul_((self.clip / norms.clamp(min=1e-12)).clamp(max=1.0))
        share = 1.0  # of the rate's peak
        if self.phase.schedule == "linear":
            share = 1 - progress
        elif self.phase.schedule == "cosine":
            share = (1 + math.cos(math.pi * progress)) / 2
        self.state.steps += running
        rate = self.phase.lr * share
        if self.phase.until is None:
            self._update(slice(None), rate, None)
        else:  # a call a lane: PyTorch's kernels leave out a step whose gradients are flagged, without asking the host
            for lane, ended in enumerate((~running).float().unbind()):
                self._update(slice(lane, lane + 1), rate, ended)
        self.grad.zero_()

    @torch.no_grad()
    def _update(self, lanes: slice, rate: float, skip: Tensor | None) -> None:
        """Change some lanes by their gradients, unless ``skip``, float32 (), is 1.

        These are the kernels behind PyTorch's fused optimisers, which take a list of tensors, here one a lane.
        """
        live, grad, mean, square, steps = (
            part[lanes].unbind()
            for part in (self.live, self.grad, self.state.mean, self.state.square, self.state.steps)
        )
        rules = self.phase.optimiser
        plain: dict[str, Any] = {"lr": rate, "weight_decay": 0.0, "maximize": False, "found_inf": skip}
        if rules.kind == "sgd":
            plain |= {"momentum": rules.momentum, "dampening": 0.0, "nesterov": False, "is_first_step": False}
            torch._fused_sgd_(live, grad, mean if rules.momentum else (), **plain)
        else:
            plain |= {"beta1": rules.momentum, "beta2": rules.variance, "eps": EPSILON, "amsgrad": False}
            torch._fused_adam_(live, grad, mean, square, (), steps, **plain)

    def blended(self) -> Tensor:
        """``theta`` with the copy blended in, (lanes, parameters)."""
        return self.theta.lerp(self.live, self.phase.blend)
