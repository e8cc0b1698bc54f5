"""The checks of weights against a model's names and shapes, a file, a manifest's hashes, random numbers.

A check is a measured value, a limit and a plain sentence. ``value_checks`` has those that hold weights against others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from atlas.guard.randomness import distance_from_fresh
from atlas.guard.report import FITS, UNDECIDED, Check, Needs
from atlas.guard.tensors import WeightPart, dtype_of, fingerprint, sha256_of

SHORTEST = 16  # rows and columns that a matrix must have for a test of its directions to be able to tell anything
SPECTRUM_SHORTEST = 32  # singular values whose law can be told from that of a matrix which was trained for a while
SPECTRUM_CLEAR = 64  # singular values whose law tells more than a weak alignment does
FAIRLY_ALIGNED = 12.0  # beyond this a matrix with fewer is trained: honest ones have 17 where the law is still near
SPECTRUM_LIMIT = 6.0  # in 1/n; fresh matrices stay below 4 (see atlas.guard.randomness), trained ones are far above
USUAL_STD = 0.02  # spread of the numbers that language models begin with
ALIGNMENT_LIMIT = 5.0  # fresh matrices stay below 4 (see atlas.guard.randomness), honest ones are above 6
NAMED_AT_MOST = 8  # parts that are too short, spelt out
CLEARLY_ALIGNED = 20.0  # beyond this a matrix is trained, whatever its spectrum


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


def aligned(parts: Sequence[WeightPart], found: Mapping[str, float]) -> Check:
    """Every matrix shares directions with its neighbours, as only training brings about, whatever the initialisation.

    ``found`` is what ``alignments`` says of the parts. None of 1,032 fresh matrices of 32 or more rows passed, 5 in
    132 of 8 rows did; honest ones of 16 rows can be as low as 6 after 120 steps. So shorter ones are not judged.
    """
    short = [part.name for part in parts if part.name in found and min(part.values.shape) < SHORTEST]
    judged = {name: value for name, value in found.items() if name not in short}
    sentence = "alignment with neighbouring matrices, in standard deviations of random numbers"
    if not found:
        return Check("aligned", True, 0.0, 0.0, f"{UNDECIDED}: no two matrices meet in a space of one size")
    return without(bounded("aligned", sentence, judged, "at least", ALIGNMENT_LIMIT, parts), short, SHORTEST)


def spectra(parts: Sequence[WeightPart], alignment: Mapping[str, float]) -> Check:
    """No matrix has the spectrum of the usual fresh initialisations of language models.

    These are normal numbers with spread 0.02 and, for what writes to the residual stream, 0.02 / sqrt(2 layers)
    (Radford et al., "Language models are unsupervised multitask learners", 2019). A trained matrix may have such a
    spectrum by chance; those whose ``alignment`` shows beyond doubt that they are trained are left out.
    """
    layers = len({part.layer for part in parts if part.layer is not None})
    spreads = {USUAL_STD, USUAL_STD / math.sqrt(2 * max(layers, 1))}
    doubtful = [
        part
        for part in parts
        if part.kind in ("matrix", "embedding") and alignment.get(part.name, 0.0) < _beyond_doubt(part)
    ]
    short = [part.name for part in doubtful if min(part.values.shape) < SPECTRUM_SHORTEST]
    measured = {
        part.name: distance_from_fresh(part.values.float().numpy(), *spreads)
        for part in doubtful
        if part.name not in short
    }
    if not doubtful:
        return Check("spectrum", True, 0.0, 0.0, "every matrix is trained beyond doubt by its alignment")
    sentence = "squared singular values against Marchenko-Pastur, KS x n"
    found = bounded("spectrum", sentence, measured, "at least", SPECTRUM_LIMIT, parts)
    return without(found, short, SPECTRUM_SHORTEST)


def _beyond_doubt(part: WeightPart) -> float:
    """The alignment beyond which a matrix is trained, whatever its spectrum: a short spectrum tells little."""
    return CLEARLY_ALIGNED if min(part.values.shape) >= SPECTRUM_CLEAR else FAIRLY_ALIGNED


def without(check: Check, short: Collection[str], fewest: int) -> Check:
    """A check that says which parts it could not judge, because they have fewer rows or columns than that."""
    if not short:
        return check
    listed = ", ".join(sorted(short)[:NAMED_AT_MOST]) + (", ..." if len(short) > NAMED_AT_MOST else "")
    left = f"{UNDECIDED}: {listed}, with fewer than {fewest} rows or columns"
    return replace(check, detail=f"{left}; {check.detail}" if check.passed else f"{check.detail}; {left}")


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
