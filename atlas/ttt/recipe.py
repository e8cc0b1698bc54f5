"""The recipe ``essay``: one session of test-time training, for all lanes at once.

(A) copy the adapter and train the copy on the new facts only, fast; (B) blend the copy in; (C) consolidate slowly on
new and rehearsed facts, held near the blended weights. Every number is a key of ``atlas.config.Recipe``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.config import Recipe, Rehearsal, Slow
from atlas.ttt.lines import IGNORED, Batch, Line, batch
from atlas.ttt.lora import Adapters
from atlas.ttt.scoring import character_nll


@dataclass(frozen=True)
class Trace:
    """Losses of one phase, step by step: float32, (steps, lanes). No steps where the recipe leaves the phase out."""

    losses: np.ndarray

    @classmethod
    def none(cls, lanes: int) -> Trace:
        """A phase that the recipe leaves out."""
        return cls(np.empty((0, lanes), np.float32))

    @property
    def steps(self) -> int:
        return len(self.losses)


class Trainer:
    """Trains the adapters of a model by a recipe."""

    def __init__(self, adapters: Adapters, recipe: Recipe, device: torch.device) -> None:
        self.adapters, self.recipe, self.device = adapters, recipe, device
        self.even = device.type == "cuda"

    def session(
        self,
        theta: Tensor,
        new: Sequence[Sequence[Line]],
        rehearsed: Sequence[Sequence[Line]],
        orders: Sequence[np.random.Generator],
    ) -> tuple[Tensor, Trace, Trace]:
        """Teach one session.

        Args:
            theta: adapters before the session, (lanes, parameters); not changed.
            new: the session's facts, lane by lane.
            rehearsed: stored facts to train again, the same number for every lane.
            orders: one generator a lane, for the order of facts in the slow phase.

        Returns:
            The adapters after the session, and the traces of the fast and the slow phase.
        """
        theta, fast = self._fast(theta, new)
        both = [[*lane, *stored] for lane, stored in zip(new, rehearsed, strict=True)]
        theta, slow = self._slow(theta, both, orders)
        return theta, fast, slow

    def _fast(self, theta: Tensor, new: Sequence[Sequence[Line]]) -> tuple[Tensor, Trace]:
        phase = self.recipe.fast
        if phase is None:
            return theta, Trace.none(len(theta))
        lines = batch(new, self.device, self.even)
        copy, trace = self.descend(theta, [lines] * phase.steps, phase.lr, anchor=0.0)
        return theta.lerp(copy, self.recipe.blend), trace

    def _slow(
        self, theta: Tensor, facts: Sequence[Sequence[Line]], orders: Sequence[np.random.Generator]
    ) -> tuple[Tensor, Trace]:
        phase = self.recipe.slow
        if phase is None:
            return theta, Trace.none(len(theta))
        return self.descend(theta, self._epochs(phase, facts, orders), phase.lr, phase.anchor)

    def _epochs(
        self, phase: Slow, facts: Sequence[Sequence[Line]], orders: Sequence[np.random.Generator]
    ) -> Iterable[Batch]:
        """Batches of all epochs; each epoch sees every fact once, in an order of its own."""
        count = len(facts[0])
        for _ in range(phase.epochs):
            shuffled = [[lane[i] for i in order.permutation(count)] for lane, order in zip(facts, orders, strict=True)]
            for start in range(0, count, phase.batch):
                yield batch([lane[start : start + phase.batch] for lane in shuffled], self.device, self.even)

    def descend(self, theta: Tensor, batches: Iterable[Batch], lr: float, anchor: float) -> tuple[Tensor, Trace]:
        """Adam, anew, from ``theta``; a squared distance from it is added to the loss with weight ``anchor``."""
        live, grad = theta.clone(), torch.empty_like(theta)
        live.grad = grad
        self.adapters.train(live, grad)
        optimiser = torch.optim.Adam([live], lr=lr, fused=True)
        losses = []
        for lines in batches:
            grad.zero_()
            per_lane = self._loss(lines)
            torch.autograd.backward(per_lane.sum())  # lanes share no weights, so each gets the gradient of its own loss
            losses.append(per_lane.detach())
            if anchor:
                grad.add_(live, alpha=2 * anchor).sub_(theta, alpha=2 * anchor)
            self._clip(grad)
            optimiser.step()
        return live.detach(), Trace(torch.stack(losses).cpu().numpy())

    def _loss(self, lines: Batch) -> Tensor:
        """Mean nats per character over each lane's lines, (lanes,)."""
        nll, _ = character_nll(self.adapters, lines)
        counted = lines.answers if self.recipe.loss == "answer" else lines.targets != IGNORED
        return lines.lane_sums(nll * counted) / lines.lane_sums(counted)

    def _clip(self, grad: Tensor) -> None:
        norms = grad.norm(dim=1, keepdim=True)
        grad.mul_((self.recipe.clip / norms.clamp(min=1e-12)).clamp(max=1.0))


def rehearse(choice: Rehearsal, losses: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Which stored facts of one lane are trained again.

    Args:
        choice: how many (fewer where fewer are stored), and which: weakest, random, or none.
        losses: (stored,), measured after the previous session; the greatest are the weakest facts.
        draw: used for the random choice only.

    Returns:
        Indices into ``losses``, at most ``choice.facts`` of them.
    """
    if choice.choice == "none":
        return np.arange(0)
    if choice.choice == "random":
        return draw.permutation(len(losses))[: choice.facts]
    return np.argsort(-losses, kind="stable")[: choice.facts]
