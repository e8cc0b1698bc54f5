"""Whether a matrix has learnt anything of its neighbours: a test that needs to know nothing of an initialisation.

Matrices that meet in one space (the residual stream; what the values of a layer hand to its output matrix) share
directions once they are trained together. A matrix of independent numbers does not, at whatever scale it was drawn:
given their lengths, its rows point anywhere. For a row of length r and a neighbour with Gram matrix G of trace 1 over
n dimensions, the row's energy in G then has mean r^2 / n and variance r^4 2 (|G|^2 - 1/n) / (n (n + 2)), the moments
of a quadratic form on the sphere (Mardia and Jupp, "Directional statistics", 2000). The figure is the mean square of
the standardised energies over all neighbours: about 1 for random numbers, whatever their spread.

That spectra alone do not do: Muon makes all singular values grow alike, so the spectrum of a trained matrix can be
that of random numbers of some other spread, and a foreign checkpoint does not say what spread it began with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.base.parts import Part

TINY = torch.finfo(torch.float64).tiny
ROWS_AT_MOST = 1024  # of each neighbour: enough for a share of a large matrix, and the cost stays in bounds

READERS, WRITERS = ("q", "k", "v", "up", "gate"), ("o", "down")
MEETING = {"q": "qk", "k": "qk", "v": "vo", "o": "vo", "up": "ffn", "gate": "ffn", "down": "ffn"}


@dataclass(frozen=True)
class _Side:
    """A matrix as vectors in one of the two spaces that it connects, shape (vectors, dimensions)."""

    name: str
    rows: Tensor


def alignments(parts: Sequence[Part]) -> dict[str, float]:
    """Mean squared alignment of every matrix and embedding with its neighbours, by name of the part.

    About 1 for a fresh matrix: at most 2.4 among 2,410 in models of 32 to 128 dimensions. A part without any
    neighbour is left out.
    """
    spaces: dict[tuple[str, int], list[_Side]] = defaultdict(list)
    for part in parts:
        for space, rows in _sides(part):
            spaces[space, rows.shape[1]].append(_Side(part.name, rows[:ROWS_AT_MOST].double()))
    scores: dict[str, list[Tensor]] = defaultdict(list)
    for sides in spaces.values():
        for name, found in _within(sides).items():
            scores[name].append(found)
    return {name: float(torch.cat(found).square().mean()) for name, found in scores.items()}


def _sides(part: Part) -> list[tuple[str, Tensor]]:
    """The spaces that a part's inputs and outputs live in, with its vectors there. Unknown roles meet by size."""
    if part.kind == "embedding" or part.role == "head":
        return [("residual", part.values)]
    if part.kind != "matrix":
        return []
    inner = f"{part.layer} {MEETING.get(part.role)}"
    if part.role in READERS:
        return [("residual", part.values), (inner, part.values.T)]
    if part.role in WRITERS:
        return [("residual", part.values.T), (inner, part.values)]
    return [("residual", part.values), ("residual", part.values.T)]


def _within(sides: Sequence[_Side]) -> dict[str, Tensor]:
    """Standardised energies of every part in all others of one space, by name; a part that is alone is left out."""
    n = sides[0].rows.shape[1]
    flat = torch.stack([(side.rows.T @ side.rows).flatten() for side in sides])  # the Gram matrices, (sides, n * n)
    products = flat @ flat.T
    lengths = torch.stack([side.rows.square().sum() for side in sides])
    fourth = torch.stack([side.rows.square().sum(1).square().sum() for side in sides])
    energies = products / lengths - lengths[:, None] / n  # row: whose vectors; column: in whose Gram matrix
    spreads = 2 * (products.diagonal() / lengths**2 - 1 / n) / (n * (n + 2)) * fourth[:, None]
    standardised = torch.where(spreads > 0, energies / spreads.clamp(min=TINY).sqrt(), 0.0)
    found: dict[str, list[Tensor]] = defaultdict(list)
    for index, side in enumerate(sides):
        others = [at for at, other in enumerate(sides) if other.name != side.name and lengths[at] > 0]
        if others:
            found[side.name].append(standardised[index, others])
    return {name: torch.cat(parts) for name, parts in found.items()}
