"""Muon: momentum whose update is brought near the closest orthogonal matrix.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). ``torch.optim.Muon``
is the same rule, but iterates in bfloat16, which processors without bfloat16 units emulate: on 2 such cores it takes
longer than forward and backward pass together. Here the iteration runs in float32, on all matrices of a shape at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from atlas.base.optimisers import uncompiled

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, from the source
ITERATIONS = 5


@uncompiled
class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for parameters that are matrices.

    The rate is that of a square matrix; a taller one (more outputs than inputs) gets the square root of its ratio more.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append(matrix)
            for matrices in by_shape.values():
                updates = orthogonalise(torch.stack([self._momentum(matrix, group["momentum"]) for matrix in matrices]))
                rows, columns = matrices[0].shape
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """Advance the running mean of the gradient and look one step ahead of it (Nesterov)."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(matrix)
        mean: Tensor = state["mean"].lerp_(matrix.grad, 1 - momentum)
        return torch.lerp(matrix.grad, mean, momentum)


def orthogonalise(stack: Tensor) -> Tensor:
    """Move all singular values of each matrix near 1, keeping its singular vectors; shape (n, rows, columns)."""
    a, b, c = COEFFICIENTS
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.mT if tall else stack
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
