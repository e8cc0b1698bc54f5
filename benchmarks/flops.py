"""Necessary FLOPs: what a task cannot be done without, whoever does it.

Counted are products only, two FLOPs for each multiplication with its addition, at the true lengths of the lines:

- each weight: once forward, and once more for the gradient of its input where anything that trains lies below;
- each adapter: forward through both matrices, the gradients of both, the gradient between them, and the gradient of
  its input where that is needed;
- attention: scores and mixing of each token with itself and those before it; backward the gradients that are needed:
  of the values, of the scores and the queries, of the keys;
- the output head: forward, and its input's gradient.

Left out: softmax, norms, ReLU, the loss, embeddings, the optimiser, and everything that is done for padding.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.base.text import SYMBOLS
from atlas.study.base_settings import Model
from atlas.study.settings import Role

UNDER: dict[Role, tuple[Role, ...]] = {
    "q": (),
    "k": (),
    "v": (),
    "o": ("q", "k", "v"),
    "up": ("q", "k", "v", "o"),
    "down": ("q", "k", "v", "o", "up"),
}
"""The roles of a layer that lie below each role: what a gradient of its input would reach."""


def training(shape: Model, targets: Sequence[Role], ranks: Sequence[int], lengths: Sequence[int]) -> int:
    """FLOPs of one step, forward and backward, on lines of these lengths.

    Args:
        shape: the model.
        targets: roles that carry adapters.
        ranks: of the adapters, layer by layer; 0 for none.
        lengths: predicted characters of each line.
    """
    per_token = 2 * len(SYMBOLS) * shape.width  # multiplications: the head, forward and backward
    per_pair = 0
    for layer, rank in enumerate(ranks):
        below = any(ranks[:layer])
        per_token += sum(_linear(shape, role, targets, rank, below) for role in UNDER)
        per_pair += shape.width * _attention(targets if rank else (), below)
    return 2 * (per_token * sum(lengths) + per_pair * _pairs(lengths))


def _linear(shape: Model, role: Role, targets: Sequence[Role], rank: int, below: bool) -> int:
    """Multiplications of one linear layer and its adapter, per token."""
    ins, outs = _widths(shape, role)
    goes_on = below or bool(rank and any(under in targets for under in UNDER[role]))  # its input's gradient is needed
    count = ins * outs * (2 if goes_on else 1)
    if rank and role in targets:
        forward, between, gradients = rank * (ins + outs), rank * outs, rank * (ins + outs)
        count += forward + between + gradients + (rank * ins if goes_on else 0)
    return count


def _attention(targets: Sequence[Role], below: bool) -> int:
    """Multiplications of one layer's attention, per pair of tokens that see each other and per unit of its width."""
    q, k, v = (below or role in targets for role in ("q", "k", "v"))
    scores, mixing = 1, 1
    return scores + mixing + v + (q or k) + q + k


def _widths(shape: Model, role: Role) -> tuple[int, int]:
    """Inputs and outputs of a linear layer."""
    if role == "up":
        return shape.width, shape.ffn
    return (shape.ffn, shape.width) if role == "down" else (shape.width, shape.width)


def _pairs(lengths: Sequence[int]) -> int:
    """Pairs of tokens of which one sees the other: each token sees itself and those before it in its line."""
    return sum(length * (length + 1) // 2 for length in lengths)
