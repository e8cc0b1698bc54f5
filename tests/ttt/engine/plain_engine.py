"""The engine as one would write it plainly: one lane at a time, padded rows, autograd through every weight.

Shares no code with ``atlas.ttt``'s passes, so that it can serve as an oracle for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F

from atlas.base.model import Transformer
from atlas.study.recipes import Phase, Recipe
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import Line


@dataclass
class Plain:
    """One lane: adapters theta (parameters,), what optimisers remember by phase, importance of parameters."""

    model: Transformer
    adapters: LaneModel  # for their layout only
    recipe: Recipe
    theta: torch.Tensor
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    importance: torch.Tensor | float = 0.0

    def session(self, new: Sequence[Line], stored: Sequence[Line], known, orders) -> list[float]:
        """Teach one session; losses of all steps. ``known``: losses of the stored; ``orders``: a generator a phase."""
        losses: list[float] = []
        for name, phase in self.recipe.active.items():
            rehearsed = [stored[i] for i in np.argsort(-np.asarray(known), kind="stable")[: _count(phase)]]
            batches = list(_batches(phase, [*(new if phase.new else []), *rehearsed], orders[name]))
            copy = self._descend(name, phase, batches, losses)
            self.theta = (1 - phase.blend) * self.theta + phase.blend * copy
        for line in new:
            live = self.theta.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self._nll(live, [line]), [live])
            self.importance = self.importance + gradient.square()
        return losses

    def _descend(self, name: str, phase: Phase, batches: list[list[Line]], losses: list[float]) -> torch.Tensor:
        start, live = self.theta, self.theta.clone().requires_grad_(True)
        betas = phase.optimiser.momentum, phase.optimiser.variance
        if phase.optimiser.kind == "sgd":
            optimiser: torch.optim.Optimizer = torch.optim.SGD([live], phase.lr, momentum=betas[0])
        else:
            optimiser = torch.optim.Adam([live], phase.lr, betas, fused=False, foreach=False)
        if phase.optimiser.memory == "run" and name in self.memory:
            optimiser.load_state_dict(self.memory[name])
        for step, lines in enumerate(batches):
            loss = self._nll(live, lines)
            losses.append(loss.item())
            optimiser.zero_grad()
            (loss + self._penalty(phase, live, start)).backward()
            torch.nn.utils.clip_grad_norm_([live], self.recipe.clip)
            left = 1 - step / len(batches)
            share = {"constant": 1.0, "linear": left, "cosine": (1 - np.cos(np.pi * left)) / 2}[phase.schedule]
            optimiser.param_groups[0]["lr"] = phase.lr * share
            optimiser.step()
        self.memory[name] = optimiser.state_dict()
        after: torch.Tensor = live.detach()
        return after

    def _penalty(self, phase: Phase, live: torch.Tensor, start: torch.Tensor) -> torch.Tensor | float:
        if phase.anchor is None:
            return 0.0
        away = (live - start if phase.anchor.to == "start" else live).square()
        weights = self.importance if phase.anchor.by == "importance" else 1.0
        return phase.anchor.weight * (weights * away).sum()

    def _nll(self, theta: torch.Tensor, lines: Sequence[Line]) -> torch.Tensor:
        return mean_nll(self.model, weights(self.model, self.adapters, theta), lines, self.recipe.loss)


def _count(phase: Phase) -> int:
    return phase.rehearsal.facts if phase.rehearsal else 0


def _batches(phase: Phase, facts: list[Line], order: np.random.Generator):
    size = min(phase.batch or len(facts), len(facts))
    steps = phase.steps or (phase.epochs or 0) * -(-len(facts) // size)
    while steps > 0:
        shuffled = facts if size == len(facts) else [facts[i] for i in order.permutation(len(facts))]
        for start in range(0, len(facts), size):
            if steps > 0:
                yield shuffled[start : start + size]
            steps -= 1


def weights(model: Transformer, adapters: LaneModel, theta: torch.Tensor) -> dict[str, torch.Tensor]:
    """The base's weights with one lane's adapters, or changes of whole matrices, written into them."""
    found: dict[str, torch.Tensor] = dict(model.named_parameters())
    at = 0
    for slot in adapters.slots:
        name = f"{slot.site.path}.weight"
        width_out, width_in = found[name].shape
        if isinstance(adapters, Full):
            size = width_in * width_out
            found[name] = found[name] + theta[at : at + size].view(width_in, width_out).T
        else:
            rank = slot.module.shapes["lora_A"][1]
            split, size = width_in * rank, (width_in + width_out) * rank
            a = theta[at : at + split].view(width_in, rank)
            b = theta[at + split : at + size].view(rank, width_out)
            found[name] = found[name] + slot.module.scale * (a @ b).T
        at += size
    return found


def mean_nll(model, found: dict[str, torch.Tensor], lines: Sequence[Line], over: str) -> torch.Tensor:
    """Mean nats per character over padded rows."""
    time = max(one.predicted for one in lines)
    tokens = torch.zeros(len(lines), time + 1, dtype=torch.int64)
    counted = torch.zeros(len(lines), time, dtype=torch.bool)
    for row, one in enumerate(lines):
        tokens[row, : len(one.tokens)] = torch.from_numpy(one.tokens.astype(np.int64))
        counted[row, one.answer - 1 if over == "answer" else 0 : one.predicted] = True
    logits = functional_call(model, found, (tokens[:, :-1],))
    loss: torch.Tensor = F.cross_entropy(logits[counted], tokens[:, 1:][counted])
    return loss
