"""What damage is done to: the weights of an honest model, with other honest weights of the same shape beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.base.model import Transformer, fresh
from atlas.base.pretrain import train
from atlas.study.base_settings import Base, Model, Pretraining
from atlas.study.config import Guard

BATCH = 8  # windows a step of the honest trainings, which are short
BLOCK, EVERY = 10_000, 10  # every tenth block of the corpus is text enough, and from all of it


@dataclass(frozen=True)
class Subject:
    """An honest checkpoint. ``earlier`` is of the same training, ``other`` of another seed; both may be missing."""

    shape: Model
    tensors: dict[str, Tensor]
    earlier: dict[str, Tensor] | None = None
    other: dict[str, Tensor] | None = None

    @property
    def drawn(self) -> dict[str, Tensor]:
        """Fresh weights of this shape, of a seed that trained none of the others."""
        return weights(fresh(self.shape, 10_007))


def excerpt(text: str) -> str:
    """Every tenth block of 10,000 characters."""
    return "".join(text[at : at + BLOCK] for at in range(0, len(text), EVERY * BLOCK))


def training(guard: Guard, shape: int, seed: int) -> Base:
    """The honest training of a shape of the study, by its place in ``guard.models``, and a seed."""
    steps = max(guard.snapshots)
    # the limit of the loss is the study's business: here it must never be what refuses a checkpoint
    return Base(seed=seed, model=guard.models[shape], training=Pretraining(steps=steps, batch=BATCH), max_val_loss=1e9)


def trained(base: Base, tokens: np.ndarray, snapshots: Sequence[int], keep: Callable[[int, Transformer], None]) -> None:
    """Train on tokens, uint8, (characters,), and hand over the model after each of the steps ``snapshots``."""

    def after_step(step: int, model: Transformer) -> None:
        if step in snapshots:
            keep(step, model)

    train(base, tokens, after_step)


def small(guard: Guard, tokens: np.ndarray) -> Subject:
    """The first shape's honest model of the first seed, an earlier step of it, and the same of the second seed."""
    steps = sorted(guard.snapshots)
    kept: dict[tuple[int, int], dict[str, Tensor]] = {}
    for seed in (0, 1):
        trained(
            training(guard, 0, seed),
            tokens,
            steps,
            lambda step, model, seed=seed: kept.update({(seed, step): weights(model)}),  # type: ignore[misc]
        )
    earlier = kept[0, steps[-2]] if len(steps) > 1 else None
    return Subject(guard.models[0], kept[0, steps[-1]], earlier, kept[1, steps[-1]])


def weights(model: Transformer) -> dict[str, Tensor]:
    """A copy of a model's tensors."""
    with torch.no_grad():
        return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
