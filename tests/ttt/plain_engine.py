"""The engine as one would write it plainly: one lane at a time, padded rows, autograd through every weight.

Shares no code with ``atlas.ttt``'s passes, so that it can serve as an oracle for them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F

from atlas.base.model import Transformer
from atlas.config import Recipe
from atlas.ttt.lines import Line
from atlas.ttt.lora import Adapters


def session(
    model: Transformer,
    adapters: Adapters,
    recipe: Recipe,
    theta: torch.Tensor,
    new: Sequence[Line],
    rehearsed: Sequence[Line],
    order: np.random.Generator,
) -> tuple[torch.Tensor, list[float]]:
    """One session of one lane: theta (parameters,) after it, and the losses of all steps. ``model`` has no adapters."""
    losses: list[float] = []
    if recipe.fast:
        copy = _descend(model, adapters, recipe, theta, [list(new)] * recipe.fast.steps, recipe.fast.lr, 0, losses)
        theta = (1 - recipe.blend) * theta + recipe.blend * copy
    if recipe.slow:
        facts, batches = [*new, *rehearsed], []
        for _ in range(recipe.slow.epochs):
            shuffled = [facts[i] for i in order.permutation(len(facts))]
            batches += [shuffled[i : i + recipe.slow.batch] for i in range(0, len(facts), recipe.slow.batch)]
        theta = _descend(model, adapters, recipe, theta, batches, recipe.slow.lr, recipe.slow.anchor, losses)
    return theta, losses


def _descend(model, adapters, recipe, start, batches, lr, anchor, losses) -> torch.Tensor:
    live = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([live], lr=lr, fused=False, foreach=False)
    for lines in batches:
        loss = mean_nll(model, weights(model, adapters, live), lines, recipe.loss)
        losses.append(loss.item())
        optimiser.zero_grad()
        (loss + anchor * (live - start).square().sum()).backward()
        torch.nn.utils.clip_grad_norm_([live], recipe.clip)
        optimiser.step()
    after: torch.Tensor = live.detach()
    return after


def weights(model: Transformer, adapters: Adapters, theta: torch.Tensor) -> dict[str, torch.Tensor]:
    """The base's weights with one lane's adapters written into them."""
    found: dict[str, torch.Tensor] = dict(model.named_parameters())
    at = 0
    for slot in adapters.slots:
        a = theta[at : at + slot.sizes[0]].view(slot.width_in, slot.rank)
        b = theta[at + slot.sizes[0] : at + sum(slot.sizes)].view(slot.rank, slot.width_out)
        at += sum(slot.sizes)
        name = f"{slot.site.path}.weight"
        found[name] = found[name] + slot.module.scale * (a @ b).T
    return found


def mean_nll(model, found: dict[str, torch.Tensor], lines: Sequence[Line], over: str) -> torch.Tensor:
    """Mean nats per character over padded rows."""
    time = max(one.characters for one in lines)
    tokens = torch.zeros(len(lines), time + 1, dtype=torch.int64)
    counted = torch.zeros(len(lines), time, dtype=torch.bool)
    for row, one in enumerate(lines):
        tokens[row, : len(one.tokens)] = torch.from_numpy(one.tokens.astype(np.int64))
        counted[row, one.answer - 1 if over == "answer" else 0 : one.characters] = True
    logits = functional_call(model, found, (tokens[:, :-1],))
    loss: torch.Tensor = F.cross_entropy(logits[counted], tokens[:, 1:][counted])
    return loss
