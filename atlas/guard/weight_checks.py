"""The checks of weights: small functions with a measured value, a limit and a plain sentence.

What they hold weights against: a model's names and shapes, a file, a manifest's hashes, random numbers, and one
another. None asks how a model was trained; ``static`` has all those that need nothing but the weights.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from atlas.guard.randomness import alignments, distance_from_fresh
from atlas.guard.report import FITS, Check, Needs
from atlas.guard.tensors import WeightPart, dtype_of, fingerprint, sha256_of

SPECTRUM_LIMIT = 6.0  # in 1/n; fresh matrices stay below 4 (see atlas.guard.randomness), trained ones are far above
USUAL_STD = 0.02  # spread of the numbers that language models begin with
ALIGNMENT_LIMIT = 5.0  # fresh matrices stay below 4 (see atlas.guard.randomness), honest ones are above 30
CLEARLY_ALIGNED = 20.0  # beyond this a matrix is trained, whatever its spectrum
CONSTANT_LIMIT = 1e-4  # root mean square distance of a bias from 0, of a norm's weight from 1
HALVES_LIMIT = 2.0  # between the lengths of two halves; at most 1.41 in 1,500 trained matrices
ALONE_LIMIT = 8.0  # between the largest value and the next; at most 1.8 in trained tensors, 32 or more after a bit flip
FEWEST = 16  # values that a tensor must have for its rounding to mean anything


class Mismatch(NamedTuple):
    """One way in which a file and a model do not fit."""

    check: str  # names, shapes, dtypes or finite
    tensor: str
    problem: str


def mismatches(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: str = "") -> Iterator[Mismatch]:
    """Yield every way in which tensors are not those expected in names, shapes or dtypes, or are not finite.

    Args:
        tensors: what a file holds.
        expected: what a model has; only shapes and dtypes are looked at.
        dtype: what to say of the dtype that is expected, other than its name.
    """
    for name in sorted(expected.keys() - tensors.keys()):
        yield Mismatch("names", name, f"missing, expected shape {list(expected[name].shape)}")
    for name in sorted(tensors.keys() - expected.keys()):
        yield Mismatch("names", name, f"unexpected, shape {list(tensors[name].shape)}; the model has no such tensor")
    for name in sorted(expected.keys() & tensors.keys()):
        found, wanted = tensors[name], expected[name]
        if found.shape != wanted.shape:
            yield Mismatch("shapes", name, f"shape {list(found.shape)}, expected {list(wanted.shape)}")
        if found.dtype != wanted.dtype:
            yield Mismatch("dtypes", name, f"dtype {dtype_of(found)}, {dtype or f'expected {dtype_of(wanted)}'}")
        if bad := int((~torch.isfinite(found)).sum()):
            yield Mismatch("finite", name, f"{bad} of {found.numel()} values are not finite")


def fit(problems: Iterable[Mismatch]) -> list[Check]:
    """Names, shapes, dtypes and finite values, from what ``mismatches`` found."""
    found = list(problems)
    return [
        none_of(name, sentence, {each.tensor: each.problem for each in found if each.check == name})
        for name, sentence in FITS.items()
    ]


def loaded(in_memory: Mapping[str, Tensor], in_file: Mapping[str, Tensor]) -> Check:
    """What is in memory after loading is what is in the file."""
    wrong = {
        name: "differs from the file" for name in in_file if sha256_of(in_memory[name]) != sha256_of(in_file[name])
    }
    return none_of("loaded", "every tensor in memory is the file's", wrong)


def hashes(in_memory: Mapping[str, Tensor], recorded: Mapping[str, str]) -> Check:
    """Every tensor in memory has the SHA-256 that the manifest names."""
    wrong = {name: "not in the manifest" for name in in_memory if name not in recorded}
    wrong |= {name: "only in the manifest" for name in recorded if name not in in_memory}
    for name in in_memory.keys() & recorded.keys():
        if (found := sha256_of(in_memory[name])) != recorded[name]:
            wrong[name] = f"sha256 {found[:12]}..., manifest {recorded[name][:12]}..."
    return none_of("sha256", "every tensor in memory has the manifest's sha256", wrong, needs="manifest")


def identity(in_memory: Mapping[str, Tensor], recorded: str) -> Check:
    """The fingerprint over all tensors in memory is the manifest's."""
    found = fingerprint(in_memory)
    wrong = [] if found == recorded else [f"found {found}, manifest {recorded}"]
    return counted("fingerprint", "all tensors together have the manifest's fingerprint", wrong, needs="manifest")


def static(parts: Sequence[WeightPart]) -> Iterator[Check]:
    """Nothing is left at an initialisation, half missing or out of proportion: what the file alone can tell, of any
    model."""
    alignment = alignments(parts)
    yield aligned(parts, alignment)
    yield spectra(parts, alignment)
    yield constants(parts)
    yield halves(parts)
    yield zeros(parts)
    yield outliers(parts)
    yield rounding(parts)
    yield copies(parts)


def aligned(parts: Sequence[WeightPart], found: Mapping[str, float]) -> Check:
    """Every matrix shares directions with its neighbours, as only training brings about, whatever the initialisation.

    ``found`` is what ``alignments`` says of the parts. None of 1,032 fresh matrices passed. Honest ones have 35
    or more after 250 steps, 6 after 60; `snakemake guard` counts false alarms.
    """
    if not found:
        return Check("aligned", True, 0.0, 0.0, "not judged: no two matrices meet in a space of one size")
    sentence = "alignment with neighbouring matrices, in standard deviations of random numbers"
    return bounded("aligned", sentence, found, "at least", ALIGNMENT_LIMIT, parts)


def spectra(parts: Sequence[WeightPart], alignment: Mapping[str, float]) -> Check:
    """No matrix has the spectrum of the usual fresh initialisations of language models.

    These are normal numbers with spread 0.02 and, for what writes to the residual stream, 0.02 / sqrt(2 layers)
    (Radford et al., "Language models are unsupervised multitask learners", 2019). A trained matrix may have such a
    spectrum by chance; those whose ``alignment`` shows beyond doubt that they are trained are left out.
    """
    layers = len({part.layer for part in parts if part.layer is not None})
    spreads = {USUAL_STD, USUAL_STD / math.sqrt(2 * max(layers, 1))}
    measured = {
        part.name: distance_from_fresh(part.values.float().numpy(), *spreads)
        for part in parts
        if part.kind in ("matrix", "embedding") and alignment.get(part.name, 0.0) < CLEARLY_ALIGNED
    }
    if not measured:
        return Check("spectrum", True, 0.0, 0.0, "every matrix is trained beyond doubt by its alignment")
    sentence = "squared singular values against Marchenko-Pastur, KS x n"
    return bounded("spectrum", sentence, measured, "at least", SPECTRUM_LIMIT, parts)


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
    measured = {part.name: _unlike_halves(part.values.double()) for part in parts if part.kind == "matrix"}
    sentence = "length of one half of a matrix over the other's"
    return bounded("halves", sentence, measured, "at most", HALVES_LIMIT, parts)


def zeros(parts: Sequence[WeightPart]) -> Check:
    """No output or input of a matrix is all zero, nor a norm's weight. Embeddings may have such rows (padding)."""
    measured = {part.name: float(not part.values.any()) for part in parts if part.kind == "norm weight"}
    for part in parts:
        if part.kind == "matrix":
            empty = part.values == 0
            measured[part.name] = float(empty.all(0).sum() + empty.all(1).sum())
    sentence = "outputs and inputs of a matrix, or norms, that are all zero"
    return bounded("zeros", sentence, measured, "at most", 0.0, parts)


def outliers(parts: Sequence[WeightPart]) -> Check:
    """No single value towers over all others of its tensor, as one does whose exponent has a flipped bit."""
    measured = {part.name: _alone(part.values) for part in parts if not part.may_stay}
    return bounded("outliers", "largest value of a tensor over the next", measured, "at most", ALONE_LIMIT, parts)


def rounding(parts: Sequence[WeightPart]) -> Check:
    """Of the matrices that a file stores in one way, all are rounded to bfloat16 or half precision, or none is.

    A GGUF file stores some in half precision and quantises others, and says so of each; that is no accident.
    """
    matrices = [part for part in parts if part.kind == "matrix" and part.values.numel() >= FEWEST]
    rounded = {part.name: float(_rounded(part.values)) for part in matrices}
    outcomes: dict[str, set[float]] = defaultdict(set)
    for part in matrices:
        outcomes[part.stored].add(rounded[part.name])
    odd = {part.name: rounded[part.name] if len(outcomes[part.stored]) > 1 else 0.0 for part in matrices}
    sentence = "all matrices are held in one precision"
    if any(odd.values()):
        sentence = "matrices rounded to 16 bits though others are not"
    return bounded("rounding", sentence, odd, "at most", 0.0, parts)


def copies(parts: Iterable[WeightPart]) -> Check:
    """No matrix is a copy of another, bit by bit: training never makes two alike, a wrong map of names does.

    Biases and norms are left out, because those that never moved may be alike. False alarms: none are possible
    unless a model was built with equal matrices, by stacking layers twice, say.
    """
    first: dict[str, WeightPart] = {}
    wrong: dict[str, str] = {}
    for part in parts:
        if part.kind in ("matrix", "embedding"):
            other = first.setdefault(sha256_of(part.values), part)
            if other is not part:
                wrong |= {part.tensor: f"{part.name} is a copy of {other.name}"}
    return none_of("copies", "no two matrices hold the same values", wrong)


def none_of(name: str, sentence: str, wrong: Mapping[str, str], needs: Needs = "file") -> Check:
    """A check that no tensor may fail: ``wrong`` has those that do, each with its problem."""
    return counted(name, sentence, (f"{tensor}: {problem}" for tensor, problem in sorted(wrong.items())), wrong, needs)


def counted(
    name: str, sentence: str, problems: Iterable[str], tensors: Iterable[str] = (), needs: Needs = "file"
) -> Check:
    """A check that passes where there is no problem."""
    listed = list(problems)
    detail = "; ".join(listed) or sentence
    return Check(name, not listed, float(len(listed)), 0.0, detail, sorted(tensors), needs)


def bounded(
    name: str,
    sentence: str,
    measured: Mapping[str, float],
    bound: Literal["at least", "at most"],
    limit: float,
    parts: Iterable[WeightPart] = (),
    needs: Needs = "file",
) -> Check:
    """A check that passes where every figure is ``at least`` or ``at most`` the limit; NaN fails.

    ``measured`` goes by the names of ``parts``, whose tensors are named where they fail, or by tensors themselves.
    """
    sign = 1 if bound == "at most" else -1
    wrong = {part: value for part, value in sorted(measured.items()) if not sign * value <= sign * limit}
    listed = "; ".join(f"{part}: {value:.3g}, expected {bound} {limit:g}" for part, value in wrong.items())
    worst = max(measured.values(), key=lambda value: math.inf if math.isnan(value) else sign * value, default=0.0)
    tensor_of = {part.name: part.tensor for part in parts}
    tensors = sorted({tensor_of.get(part, part) for part in wrong})
    by_module = {part: finite(value) for part, value in measured.items()}
    return Check(name, not wrong, finite(worst), limit, listed or sentence, tensors, needs, by_module)


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
