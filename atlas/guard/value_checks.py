"""The checks that hold weights against one another: roles across layers, blocks of a matrix, values of a tensor.

``static`` has all checks that need nothing but the weights. None asks how a model was trained. Their limits rest on
honest checkpoints of all known architectures, sizes and dtypes, which `snakemake guard` trains, and on SmolLM2-135M.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from atlas.guard.randomness import alignments, blocks_of
from atlas.guard.report import NOTE, Check
from atlas.guard.tensors import WeightPart, role_name, sha256_of
from atlas.guard.weight_checks import SHORTEST, aligned, bounded, none_of, spectra, without

CONSTANT_LIMIT = 1e-4  # root mean square distance of a bias from 0, of a norm's weight from 1
HALVES_LIMIT = 2.0  # between the lengths of two halves; at most 1.63 in honest matrices
ALONE_LIMIT = 1000.0  # between the largest value and the next: single weights of large models tower by tens; the
# highest bit of an exponent makes 1e16 or more of a number in 32 bits, 65,536 times as much of one in half precision
FEWEST = 16  # values that a tensor must have for its rounding to mean anything
PADDED = 0.5  # share of the rows of a vocabulary that may be zero
PEERS_LIMIT = 16.0  # between the sizes of a role's matrices; at most 4 in honest models
NORMS_LIMIT = 64.0  # the same of norms' weights, which differ more: at most 8
MODEL_LIMIT = 300.0  # between the size of a matrix and of the model's others; 6 in honest models, 50 where embeddings
# begin at torch's spread of 1
LARGEST = 30.0  # size of a matrix's larger values; codes of 8 bits have 46, honest matrices at most 1
TOP = 0.9  # share of a tensor's values that are below its size: no single huge one moves that
SAMPLED = 128  # rows and columns that are looked at for directions: all that a share of few directions needs
NO_DIRECTION = 5e-3  # of the largest singular value: rounding to 16 bits makes 1e-3 of nothing
FEWEST_DIRECTIONS = 0.15  # share of directions with more than that; at least 0.8 in honest matrices
TOWERING = 8.0  # times its size: single weights beyond are cut to that where they would drown all others
RANDOM_BLOCK = 5.0  # alignment below which a block may be random: 4 in 99% of fresh ones
CLEAR_BLOCKS = 90.0  # median alignment of a matrix's other blocks that makes a random one odd; honest matrices with
# such blocks have none below 12


def static(parts: Iterable[WeightPart]) -> Iterator[Check]:
    """Nothing is left at an initialisation, half missing or out of proportion: what the file alone can tell, of any
    model."""
    judged = [part for part in map(_in_numbers, parts) if part]
    calm = [_calmed(part) for part in judged]
    alignment = alignments(calm)
    yield aligned(calm, alignment)
    yield spectra(calm, alignment)
    yield blocks(calm)
    yield constants(judged)
    yield halves(calm)
    yield zeros(judged)
    yield directions(calm)
    yield codes(judged)
    yield scale(judged)
    yield outliers(judged)
    yield rounding(judged)
    yield copies(judged)


def _in_numbers(part: WeightPart) -> WeightPart | None:
    """A part whose values can be worked with: not codes, not empty; numbers of 8 bits as those of 32."""
    if not part.values.is_floating_point() or not part.values.numel():
        return None
    return replace(part, values=part.values.float()) if part.values.element_size() == 1 else part


def _calmed(part: WeightPart) -> WeightPart:
    """A part whose towering values, which would drown all others, are cut to a few times its size."""
    if part.kind not in ("matrix", "embedding") or not part.values.any():
        return part
    most = TOWERING * _size(part.values)
    if float(part.values.abs().max()) <= most:
        return part
    return replace(part, values=part.values.clamp(-most, most))


def blocks(parts: Sequence[WeightPart]) -> Check:
    """No block of a matrix's rows is random while the others are trained: no head of attention, no quarter of a
    vocabulary or of a feed-forward's units. Positions are left out: late ones are hardly ever trained."""
    measured: dict[str, float] = {}
    for name, found in blocks_of(parts):
        least, *others = sorted(found)
        if statistics.median(others) >= CLEAR_BLOCKS:
            measured[name] = min(least, measured.get(name, least))
    sentence = "least alignment of a head, a piece or a half of matrices whose others are clearly aligned"
    return bounded("blocks", sentence, measured, "at least", RANDOM_BLOCK, parts)


def constants(parts: Sequence[WeightPart]) -> Check:
    """No bias is still 0, no norm's weight still 1. Needs no manifest. Left out: ``WeightPart.may_stay``."""
    measured = {}
    for part in parts:
        if part.kind in ("bias", "norm weight", "norm bias") and not part.may_stay:
            start = 1.0 if part.kind == "norm weight" else 0.0
            measured[part.name] = float((part.values.float() - start).square().mean().sqrt())
    if not measured:
        return Check("constants", True, 0.0, 0.0, "the model has no biases and no norms")
    sentence = "root mean square of biases, and of norms from 1"
    return bounded("constants", sentence, measured, "at least", CONSTANT_LIMIT, parts)


def halves(parts: Sequence[WeightPart]) -> Check:
    """The two halves of a matrix, of its outputs as of its inputs, are of like length: neither is left at an
    initialisation, or zero, while the other is trained."""
    matrices = [part for part in parts if part.kind == "matrix"]
    measured = {part.name: _unlike_halves(_unpadded(part).double()) for part in matrices if not _short(part)}
    sentence = "length of one half of a matrix over the other's"
    found = bounded("halves", sentence, measured, "at most", HALVES_LIMIT, parts)
    return without(found, [part.name for part in matrices if _short(part)], SHORTEST)


def zeros(parts: Sequence[WeightPart]) -> Check:
    """No output or input of a matrix is all zero, nor a norm's weight. Rows of a vocabulary may be, if they are fewer
    than half: padding."""
    measured = {part.name: float(not part.values.any()) for part in parts if part.kind == "norm weight"}
    for part in parts:
        if part.kind in ("matrix", "embedding"):
            empty = part.values == 0
            rows, columns = float(empty.all(1).sum()), float(empty.all(0).sum()) * (part.kind == "matrix")
            if _is_vocabulary(part):
                rows = rows if rows >= PADDED * len(empty) else 0.0
            wide, tall = empty.shape[1] >= SHORTEST, empty.shape[0] >= SHORTEST
            measured[part.name] = rows * wide + columns * tall or float(bool(empty.all()))
    sentence = "outputs and inputs of a matrix, or norms, that are all zero"
    return bounded("zeros", sentence, measured, "at most", 0.0, parts)


def directions(parts: Sequence[WeightPart]) -> Check:
    """No matrix is constant, of rank one or nearly so."""
    measured = {}
    for part in parts:
        if part.kind in ("matrix", "embedding") and not _short(part):
            of = _unpadded(part)
            count, most = _directions(of), min(SAMPLED, *of.shape)
            # tables of positions are smooth, and have few directions by nature
            measured[part.name] = count / (min(most, SHORTEST) if part.kind == "embedding" else most)
    sentence = "share of a matrix's directions with more than 1/200 of the largest one's size"
    return bounded("directions", sentence, measured, "at least", FEWEST_DIRECTIONS, parts)


def codes(parts: Sequence[WeightPart]) -> Check:
    """No matrix holds whole numbers only: codes of a quantised one, stored without their scale."""
    matrices = [p for p in parts if p.kind in ("matrix", "embedding") and p.values.numel() >= FEWEST]
    wrong = {
        part.tensor: f"{part.name} holds whole numbers from {float(part.values.min()):g} to "
        f"{float(part.values.max()):g}: codes without their scale"
        for part in matrices
        if part.values.any() and bool((part.values == part.values.round()).all())
    }
    return none_of("codes", "no matrix holds whole numbers only", wrong)


def scale(parts: Sequence[WeightPart]) -> Check:
    """No tensor is far larger or smaller than those of its role in other layers, nor than the model's others.

    The figure is the factor between sizes, over the limit for what it is held against. A size is a quantile of the
    absolute values, so that single huge weights do not count.
    """
    sized = [part for part in parts if part.kind in ("matrix", "embedding", "norm weight") and part.values.any()]
    sizes = {part.name: _size(part.values) for part in sized}
    matrices = {part.name: sizes[part.name] for part in sized if part.kind == "matrix" and not _short(part)}
    peers = _by_role(sized)
    measured: dict[str, float] = {}
    for part in sized:
        own, norm = sizes[part.name], part.kind == "norm weight"
        same = [sizes[other.name] for other in peers[_role_of(part)]]
        rest = [size for name, size in matrices.items() if name != part.name]
        level = 1.0 if norm else statistics.median(rest) if rest else own
        usual = statistics.median(same)
        if len(same) == 2:  # of two that differ it is the one that is unlike the rest of the model
            usual = min(same, key=lambda size: _factor(size, level))
        measured[part.name] = _factor(own, usual) / (NORMS_LIMIT if norm else PEERS_LIMIT)
        if not norm and not _short(part):
            size = own / LARGEST if part.kind == "matrix" else 0.0
            measured[part.name] = max(measured[part.name], _factor(own, level) / MODEL_LIMIT, size)
    sentence = "factor between the sizes of a tensor and of its role in other layers, or of the model, over its limit"
    return bounded("size", sentence, measured, "at most", 1.0, parts)


def outliers(parts: Sequence[WeightPart]) -> Check:
    """No single value towers over all others of its tensor, as one does whose exponent has a flipped bit."""
    measured = {part.name: _alone(part.values) for part in parts if not part.may_stay}
    return bounded("outliers", "largest value of a tensor over the next", measured, "at most", ALONE_LIMIT, parts)


def rounding(parts: Sequence[WeightPart]) -> Check:
    """Of the matrices of one role that a file stores in one way, all are rounded to 16 bits, or none is.

    A GGUF file stores some in half precision and quantises others, and says so of each; that is no accident. Nor is it
    where a role is held in another precision than others. A file whose matrices are all rounded passes: most models are
    trained so, and some are stored in 32 bits afterwards. The check then says so.
    """
    matrices = [part for part in parts if part.kind == "matrix" and part.values.numel() >= FEWEST]
    rounded = {part.name: _rounded(part.values) for part in matrices}
    usual = 2 * sum(rounded.values()) > len(matrices)
    odd = {part.name: 0.0 for part in matrices}
    for group in _by_role(matrices).values():
        for stored in {part.stored for part in group}:
            same = [part.name for part in group if part.stored == stored]
            many = sum(rounded[name] for name in same)
            if 0 < many < len(same):
                minority = not usual if 2 * many == len(same) else 2 * many < len(same)
                odd |= {name: float(rounded[name] == minority) for name in same}
    if any(odd.values()):
        return bounded("rounding", "matrices rounded unlike those of their role", odd, "at most", 0.0, parts)
    sentence = "the matrices of each role are held in one precision"
    if matrices and all(rounded.values()):
        sentence = f"{NOTE}: every matrix is exact in 16 bits though stored in 32: so trained, or rounded since"
    return bounded("rounding", sentence, odd, "at most", 0.0, parts)


def copies(parts: Iterable[WeightPart]) -> Check:
    """No matrix is a copy of another, bit by bit: training never makes two alike, a wrong map of names does.

    Biases and norms are left out, because those that never moved may be alike; so are tables of one vocabulary, which
    are often tied when they are trained and stored apart. False alarms: none are possible
    unless a model was built with equal matrices, by stacking layers twice, say.
    """
    first: dict[str, WeightPart] = {}
    wrong: dict[str, str] = {}
    for part in parts:
        if part.kind in ("matrix", "embedding") and part.values.numel() >= FEWEST:
            other = first.setdefault(sha256_of(part.values), part)
            if other is not part and "embedding" not in (part.kind, other.kind):
                wrong |= {part.tensor: f"{part.name} is a copy of {other.name}"}
    return none_of("copies", "no two matrices hold the same values", wrong)


def _short(part: WeightPart) -> bool:
    return min(part.values.shape) < SHORTEST


def _is_vocabulary(part: WeightPart) -> bool:
    return part.kind == "embedding" or part.role == "head"


def _unpadded(part: WeightPart) -> Tensor:
    """The values; of a table of a vocabulary without the rows that are zero."""
    values = part.values
    return values[(values != 0).any(1)] if _is_vocabulary(part) and values.any() else values


def _role_of(part: WeightPart) -> tuple[str, str]:
    """What the same tensors of other layers share: the name without its numbers."""
    return part.kind, role_name(part.name)


def _by_role(parts: Iterable[WeightPart]) -> dict[tuple[str, str], list[WeightPart]]:
    found: dict[tuple[str, str], list[WeightPart]] = defaultdict(list)
    for part in parts:
        found[_role_of(part)].append(part)
    return found


def _size(values: Tensor) -> float:
    """The value that nine tenths of the absolute ones are below, of at most 100,000 that are spread evenly; of a
    tensor that is mostly zero the largest."""
    found = values.flatten().abs()
    found = found[:: max(1, len(found) // 100_000)].double()
    return float(found.kthvalue(max(1, math.ceil(TOP * len(found)))).values) or float(found.max())


def _factor(a: float, b: float) -> float:
    low, high = sorted((a, b))
    return high / low if low else math.inf


def _directions(values: Tensor) -> int:
    """How many singular values of at most 128 rows and columns, spread evenly, are not next to nothing."""
    rows, columns = (max(1, size // SAMPLED) for size in values.shape)
    sample = values[::rows, ::columns][:SAMPLED, :SAMPLED].double()
    found = torch.linalg.svdvals(sample / sample.abs().max().clamp(min=torch.finfo(sample.dtype).tiny))
    return int((found > NO_DIRECTION * found[0]).sum())


def _unlike_halves(values: Tensor) -> float:
    """The longest half over its other half, of outputs and of inputs."""
    pairs = [torch.tensor_split(values, 2, dim) for dim in (0, 1) if values.shape[dim] > 1]
    lengths = [sorted(float(half.square().mean()) for half in pair) for pair in pairs]
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
