"""How much the weights that are taught have grown: the literature on editing follows it from edit to edit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.ttt.engine.lora import Adapters
from atlas.ttt.schema import Growth


def growths(adapters: Adapters, theta: Tensor, seeds: Sequence[int], sessions: int) -> list[Growth]:
    """Of each lane, all of its matrices taken together as one. ``theta`` is (lanes, parameters)."""
    base = torch.cat([slot.module.base.weight.T.flatten() for slot in adapters.slots])
    update = torch.cat([part.flatten(1) for part in adapters.updates(theta)], dim=1)  # (lanes, weights)
    matrix, updates = (part.double().cpu().numpy()[..., None, :] for part in (base, update))
    sizes, growth = update_size(matrix, updates), norm_growth(matrix, updates)
    return [
        Growth(seed=seed, sessions=sessions, size=float(size), growth=float(more))
        for seed, size, more in zip(seeds, sizes, growth, strict=True)
    ]


def update_size(base: np.ndarray, update: np.ndarray) -> np.ndarray:
    """How large an update is beside the weights, ``|update| / |base|`` in Frobenius norms.

    Gupta et al. 2024 (arXiv 2403.07175) follow it from edit to edit: a single one that is much larger disables a model.

    Args:
        base: the matrix, (a, b).
        update: what was added to it, (..., a, b).
    """
    return np.asarray(np.linalg.norm(update, axis=(-2, -1)) / np.linalg.norm(base))


def norm_growth(base: np.ndarray, update: np.ndarray) -> np.ndarray:
    """By what share the matrix has grown, ``|base + update| / |base| - 1``, arguments as of ``update_size``."""
    return np.asarray(np.linalg.norm(base + update, axis=(-2, -1)) / np.linalg.norm(base) - 1)
