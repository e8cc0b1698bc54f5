"""How far matrices are from random numbers: by the directions that they share with their neighbours, and by spectrum.

**Alignment** needs to know nothing of an initialisation. Matrices that meet in one space (the residual stream; what the
values of a layer hand to its output matrix) share directions once they are trained together. A matrix of independent
numbers does not, at whatever scale it was drawn: given their lengths, its rows point anywhere. For a row of length r
and a neighbour with Gram matrix G of trace 1 over n dimensions, the row's energy in G then has mean r^2 / n and
variance r^4 2 (|G|^2 - 1/n) / (n (n + 2)), the moments of a quadratic form on the sphere (Mardia and Jupp, "Directional
statistics", 2000); energies in two neighbours covary in the same way by the trace of the product of their Gram
matrices. The figure is the sum of the squared standardised energies over all neighbours, less its mean for random
numbers, in the standard deviations that it has for them: 0 on average and about 1 in spread, whatever the numbers'
size, and even where the neighbours are much alike.

**Spectrum.** The squared singular values of a matrix of independent numbers follow the law of Marchenko and Pastur
("Distribution of eigenvalues for some sets of random matrices", 1967), whatever the numbers' distribution. Training
leaves it (Martin and Mahoney, "Implicit self-regularization in deep neural networks", 2021), but how depends on the
optimiser: Muon makes all singular values grow alike, so after a short training the shape can still be the law's while
the scale has left the initialisation's. The law is therefore that of the initialisation's own variance. Spectra alone
do not do: that of a trained matrix can be that of random numbers of some other spread, and a checkpoint from elsewhere
does not say what spread it began with.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.guard.tensors import WeightPart, role_name

TINY = torch.finfo(torch.float64).tiny
EVEN = 1e-9  # spread below which a neighbour has no direction: zeros, a rotation
ROWS_AT_MOST = 1024  # of each neighbour: enough for a share of a large matrix, and the cost stays in bounds

BLOCK_ROWS, BLOCK_ROWS_AT_MOST = 8, 256  # vectors that a block must have, and that are looked at
HALF_AT_LEAST = 16  # numbers of half a vector
POSITIONS = re.compile("pos|wpe")  # in the names of tables of positions, whose late rows are hardly ever trained
GRID = 4001  # points of the spectrum's law in a table; its error is far below 1 / (singular values)

READERS, WRITERS = ("q", "k", "v", "up", "gate"), ("o", "down")
MEETING = {"q": "qk", "k": "qk", "v": "vo", "o": "vo", "up": "ffn", "gate": "ffn", "down": "ffn"}


def alignments(parts: Sequence[WeightPart]) -> dict[str, float]:
    """Alignment of every matrix and embedding with its neighbours, by name of the part, in standard deviations.

    Among 1,032 fresh matrices in models of 32 to 128 dimensions the largest was 3.9. A part without any neighbour is
    left out.
    """
    spaces: dict[tuple[str, int], list[tuple[str, Tensor]]] = defaultdict(list)
    for part in parts:
        for space, rows in _sides(part):
            spaces[space, rows.shape[1]].append((part.name, rows[:ROWS_AT_MOST].double()))
    sums: dict[str, tuple[float, float]] = {}  # excess, squared correlations
    for sides in spaces.values():
        for name, excess, correlations in _within(sides):
            before = sums.get(name, (0.0, 0.0))
            sums[name] = before[0] + excess, before[1] + correlations
    found = {name: excess / math.sqrt(max(2 * spread, TINY)) for name, (excess, spread) in sums.items()}
    for part in parts:
        if part.name in found and part.kind == "embedding" and POSITIONS.search(part.name):
            found[part.name] = max(found[part.name], _smoothness(part.values))
    return found


def _smoothness(positions: Tensor) -> float:
    """How alike the rows of neighbouring positions are, in standard deviations of random ones.

    The table of positions keeps to directions that nothing else uses, and may be hardly aligned. It is smooth instead:
    the cosine of two random rows of n numbers has mean 0 and variance 1 / n.
    """
    rows = F.normalize(positions.double(), dim=1)
    return float((rows[1:] * rows[:-1]).sum()) * math.sqrt(rows.shape[1] / max(len(rows) - 1, 1))


def _sides(part: WeightPart) -> list[tuple[str, Tensor]]:
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


def _within(sides: Sequence[tuple[str, Tensor]]) -> Iterator[tuple[str, float, float]]:
    """For each side that is not alone, over all sides of the same space that belong to other parts: by how much their
    squared standardised energies exceed their mean, and the sum of the energies' squared correlations.

    A side is the name of a part and its vectors in the space, shape (vectors, dimensions).
    """
    n = sides[0][1].shape[1]
    flat = torch.stack([(rows.T @ rows).flatten() for _, rows in sides])  # the Gram matrices, (sides, n * n)
    products = flat @ flat.T
    lengths = torch.stack([rows.square().sum() for _, rows in sides]).clamp(min=TINY)
    fourth = torch.stack([rows.square().sum(1).square().sum() for _, rows in sides])
    covariances = products / lengths[:, None] / lengths - 1 / n
    spreads = covariances.diagonal().clamp(min=TINY)
    energies = products / lengths - lengths[:, None] / n  # row: whose vectors; column: in whose Gram matrix
    standardised = energies / (2 * spreads * fourth[:, None] / (n * (n + 2))).clamp(min=TINY).sqrt()
    correlations = covariances / (spreads[:, None] * spreads).sqrt()
    for index, (name, _) in enumerate(sides):
        others = [at for at, (other, _) in enumerate(sides) if other != name and spreads[at] > EVEN]
        if others:
            squares = standardised[index, others].square().sum()
            yield name, float(squares) - len(others), float(correlations[others][:, others].square().sum())


def blocks_of(parts: Sequence[WeightPart]) -> Iterator[tuple[str, list[float]]]:
    """Alignment of each piece of a part's vectors in the residual stream with all other parts, by name of the part.

    Once the pieces are blocks of vectors, such as heads, once the two halves of all vectors. As ``alignments``, but the
    neighbours of one role are taken together, by the mean of their Gram matrices: for the few vectors of a block, many
    neighbours that are much alike would only add noise. In 99% of random blocks beside trained neighbours the figure
    is below 4.
    """
    spaces: dict[int, list[tuple[WeightPart, Tensor]]] = defaultdict(list)
    for part in parts:
        if (sides := _sides(part)) and (rows := sides[0][1][sides[0][1].any(1)]).any():  # without padding
            spaces[rows.shape[1]].append((part, rows))
    for members in spaces.values():
        for part, rows, grams in _beside(members):
            # any quarter holds one of the eighths, but an eighth of a vocabulary may never have been seen in training
            vocabulary = part.kind == "embedding" or part.role == "head"
            blocks = part.blocks or (4 if vocabulary or len(rows) < 8 * BLOCK_ROWS else 8)
            if blocks > 1 and len(rows) >= blocks * BLOCK_ROWS:
                yield part.name, [_figure(block, grams) for block in rows.tensor_split(blocks)]
            if rows.shape[1] >= 2 * HALF_AT_LEAST:
                halves = [slice(None, rows.shape[1] // 2), slice(rows.shape[1] // 2, None)]
                yield part.name, [_figure(rows[:, half], grams[:, half, half]) for half in halves]


def _beside(members: Sequence[tuple[WeightPart, Tensor]]) -> Iterator[tuple[WeightPart, Tensor, Tensor]]:
    """Each part of a space but positions, its vectors (vectors, n), and the mean Gram matrices of the roles beside it,
    (roles, n, n)."""
    totals: dict[str, Tensor] = {}
    counts = Counter(_group(part) for part, _ in members)
    for part, rows in members:
        totals[_group(part)] = totals.get(_group(part), 0) + _gram(rows)
    for part, rows in members:
        own = _group(part)
        others = [total / counts[group] for group, total in totals.items() if group != own]
        if counts[own] > 1:
            others.append((totals[own] - _gram(rows)) / (counts[own] - 1))
        if others and not POSITIONS.search(part.name):
            yield part, rows, torch.stack(others)


def _group(part: WeightPart) -> str:
    return part.role or role_name(part.name)


def _gram(rows: Tensor) -> Tensor:
    """Gram matrix of trace 1 over the dimensions, (n, n), of at most ``ROWS_AT_MOST`` rows, spread evenly."""
    some = rows[:: -(-len(rows) // ROWS_AT_MOST)].double()
    return some.T @ some / some.square().sum().clamp(min=TINY)


def _figure(rows: Tensor, grams: Tensor) -> float:
    """Alignment of rows, (vectors, n), with neighbours, (neighbours, n, n), in standard deviations of random rows."""
    n = rows.shape[1]
    flat = (grams / grams.diagonal(dim1=1, dim2=2).sum(1).clamp(min=TINY)[:, None, None]).flatten(1)
    covariances = flat @ flat.T - 1 / n
    spreads = covariances.diagonal().clamp(min=TINY)
    some = rows[:: -(-len(rows) // BLOCK_ROWS_AT_MOST)].double()
    lengths = some.square().sum(1)  # (vectors)
    energies = flat @ (some.T @ some).flatten() - lengths.sum() / n
    squares = energies.square() / (2 * spreads * lengths.square().sum() / (n * (n + 2))).clamp(min=TINY)
    correlations = covariances.square() / (spreads[:, None] * spreads)
    return (float(squares.sum()) - len(grams)) / math.sqrt(2 * float(correlations.sum()))


def distance_from_fresh(matrix: np.ndarray, *stds: float) -> float:
    """Kolmogorov-Smirnov distance of the squared singular values from the nearest law of numbers with a given spread.

    In units of 1/n, n being the smaller side: the eigenvalues of a random matrix repel one another, so that their
    distance shrinks as 1/n, not as the 1/sqrt(n) of independent draws. Largest in 7,200 fresh matrices of 8 to 512
    rows: 3.7. The largest value possible is n.

    Args:
        matrix: shape (rows, columns).
        stds: standard deviations that a fresh initialisation may have.
    """
    small, large = sorted(matrix.shape)
    squares = np.sort(np.linalg.svd(matrix.astype(np.float64), compute_uv=False) ** 2) / large
    ranks, distances = np.arange(small), []
    for std in stds:
        law = marchenko_pastur(squares / std**2, small / large) * small
        distances.append(float(max(np.max(law - ranks), np.max(ranks + 1 - law))))
    return min(distances)


def marchenko_pastur(values: np.ndarray, ratio: float) -> np.ndarray:
    """Cumulative law of eigenvalues for unit variance and a ratio of sides in (0, 1]; same shape as ``values``."""
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
    angle = np.linspace(0, np.pi, GRID)  # even steps in angle tame the density's edges
    points = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    weights: np.ndarray = np.sin(angle) ** 2 / np.maximum(points, np.finfo(float).tiny)
    law = np.concatenate([[0.0], np.cumsum(np.diff(angle) * (weights[1:] + weights[:-1]) / 2)])  # by trapezoids
    found: np.ndarray = np.interp(values, points, law / law[-1])
    return found
