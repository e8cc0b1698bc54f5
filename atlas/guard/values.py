"""Checks of the values of single tensors: nothing is half missing, zero, out of proportion or rounded unlike the rest.

None of them asks how a model was initialised or trained. Each compares a tensor with itself or with its fellows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from atlas.base.checkpoint import Check
from atlas.guard.parts import Part

HALVES_LIMIT = 2.0  # between the lengths of two halves; at most 1.41 in 1,500 trained matrices
ALONE_LIMIT = 8.0  # between the largest value and the next; at most 1.8 in trained tensors, 32 or more after a bit flip
FEWEST = 16  # values that a tensor must have for its rounding to mean anything


def of_values(parts: Sequence[Part]) -> Iterator[Check]:
    """All checks of this module."""
    yield halves(parts)
    yield zeros(parts)
    yield outliers(parts)
    yield rounding(parts)


def halves(parts: Sequence[Part]) -> Check:
    """The two halves of a matrix, of its outputs as of its inputs, are of like length: neither is left at an
    initialisation, or zero, while the other is trained."""
    measured = {part.name: _unlike_halves(part.values.double()) for part in parts if part.kind == "matrix"}
    return at_most("halves", "length of one half of a matrix over the other's", measured, HALVES_LIMIT, parts)


def zeros(parts: Sequence[Part]) -> Check:
    """No output or input of a matrix is all zero, nor a norm's weight. Embeddings may have such rows (padding)."""
    measured = {part.name: float(not part.values.any()) for part in parts if part.kind == "norm weight"}
    for part in parts:
        if part.kind == "matrix":
            empty = part.values == 0
            measured[part.name] = float(empty.all(0).sum() + empty.all(1).sum())
    return at_most("zeros", "outputs and inputs of a matrix, or norms, that are all zero", measured, 0.0, parts)


def outliers(parts: Sequence[Part]) -> Check:
    """No single value towers over all others of its tensor, as one does whose exponent has a flipped bit."""
    measured = {part.name: _alone(part.values) for part in parts if not part.may_stay}
    return at_most("outliers", "largest value of a tensor over the next", measured, ALONE_LIMIT, parts)


def rounding(parts: Sequence[Part]) -> Check:
    """Of the matrices that a file stores in one way, all are rounded to bfloat16 or half precision, or none is.

    A GGUF file stores some in half precision and quantises others, and says so of each; that is no accident.
    """
    matrices = [part for part in parts if part.kind == "matrix" and part.values.numel() >= FEWEST]
    rounded = {part.name: float(_rounded(part.values)) for part in matrices}
    outcomes: dict[str, set[float]] = defaultdict(set)
    for part in matrices:
        outcomes[part.stored].add(rounded[part.name])
    odd = {part.name: rounded[part.name] if len(outcomes[part.stored]) > 1 else 0.0 for part in matrices}
    mixed = any(odd.values())
    sentence = (
        "matrices rounded to 16 bits though others are not" if mixed else "all matrices are held in one precision"
    )
    return at_most("rounding", sentence, odd, 0.0, parts)


def at_most(name: str, sentence: str, measured: Mapping[str, float], limit: float, parts: Sequence[Part]) -> Check:
    """A check of parts that passes where every figure is at most ``limit``; NaN fails."""
    high = {part: value for part, value in sorted(measured.items()) if not value <= limit}
    listed = "; ".join(f"{part}: {value:.3g}, expected at most {limit:g}" for part, value in high.items())
    most = max(measured.values(), key=lambda value: math.inf if math.isnan(value) else value, default=0.0)
    return Check(
        name=name,
        passed=not high,
        measured=finite(most),
        limit=limit,
        detail=listed or sentence,
        tensors=sorted({part.tensor for part in parts if part.name in high}),
        by_module={part: finite(value) for part, value in measured.items()},
    )


def finite(value: float) -> float | None:
    """The value, or None where it is not a finite number, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def _unlike_halves(values: Tensor) -> float:
    """The longest half over its other half, of outputs and of inputs."""
    pairs = [torch.tensor_split(values, 2, dim) for dim in (0, 1)]
    lengths = [sorted(float(half.square().mean()) for half in pair) for pair in pairs if pair[0].numel()]
    return max((math.sqrt(long / short) if short else math.inf for short, long in lengths), default=1.0)


def _alone(values: Tensor) -> float:
    """The largest absolute value over the next one; 1 where there are not two."""
    if values.numel() < 2:
        return 1.0
    largest, second = values.flatten().abs().double().topk(2).values.tolist()
    return largest / second if second else 1.0


def _rounded(values: Tensor) -> bool:
    """Whether values of 32 bits or more are all exact in 16."""
    wide = values.dtype in (torch.float32, torch.float64)
    return wide and any(
        bool((values == values.to(kind).to(values.dtype)).all()) for kind in (torch.bfloat16, torch.half)
    )
