"""The checks that a base must pass: each a small function with a measured value, a limit and a plain sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from atlas.base.checkpoint import Check, Manifest, Mismatch, fingerprint, sha256_of
from atlas.base.model import INIT_STD, POSITION_OFFSET, opt_config
from atlas.guard.alignment import alignments
from atlas.guard.parts import Part
from atlas.guard.spectrum import distance_from_fresh
from atlas.guard.values import finite, of_values
from atlas.study.base_settings import Base
from atlas.workflow import files

SPECTRUM_LIMIT = 6.0  # in 1/n; fresh matrices stay below 4 (see atlas.guard.spectrum), trained ones are far above
ALIGNMENT_LIMIT = 5.0  # fresh matrices stay below 4 (see atlas.guard.alignment), honest ones are above 30
CLEARLY_ALIGNED = 20.0  # beyond this a matrix is trained, whatever its spectrum
MOVED_LIMIT = 0.1  # share of its own first length that training moves a matrix by, at least
CONSTANT_LIMIT = 1e-4  # root mean square distance of a bias from 0, of a norm's weight from 1
LOSS_TOLERANCE = 1e-4  # nats per character: rounding on another machine or thread count is below 1e-5

FITS = {
    "names": "the file has the model's tensors, no more and no fewer",
    "shapes": "every tensor has the model's shape",
    "dtypes": "every tensor has the model's dtype",
    "finite": "every value is finite",
}


def fit(problems: Sequence[Mismatch]) -> Iterator[Check]:
    """Names, shapes, dtypes and finite values, from what ``atlas.base.checkpoint.mismatches`` found."""
    for name, sentence in FITS.items():
        yield _none_of(name, sentence, {found.tensor: found.problem for found in problems if found.check == name})


def loaded(in_memory: Mapping[str, Tensor], in_file: Mapping[str, Tensor]) -> Check:
    """What is in memory after loading is what is in the file."""
    wrong = {
        name: "differs from the file" for name in in_file if sha256_of(in_memory[name]) != sha256_of(in_file[name])
    }
    return _none_of("loaded", "every tensor in memory is the file's", wrong)


def hashes(in_memory: Mapping[str, Tensor], manifest: Manifest) -> Check:
    """Every tensor in memory has the SHA-256 that the manifest names."""
    wrong = {name: "not in the manifest" for name in in_memory if name not in manifest.sha256}
    wrong |= {name: "only in the manifest" for name in manifest.sha256 if name not in in_memory}
    for name in in_memory.keys() & manifest.sha256.keys():
        if (found := sha256_of(in_memory[name])) != manifest.sha256[name]:
            wrong[name] = f"sha256 {found[:12]}..., manifest {manifest.sha256[name][:12]}..."
    return _by("manifest", _none_of("sha256", "every tensor in memory has the manifest's sha256", wrong))


def whole(in_memory: Mapping[str, Tensor], manifest: Manifest) -> Check:
    """The fingerprint over all tensors in memory is the manifest's."""
    found = fingerprint(in_memory)
    wrong = [] if found == manifest.fingerprint else [f"found {found}, manifest {manifest.fingerprint}"]
    return _by("manifest", _counted("fingerprint", "all tensors together have the manifest's fingerprint", wrong))


def configured(manifest: Manifest, config: Base) -> Check:
    """The manifest's base is the one that the study asks for (``max_val_loss`` is a limit, not a part of it)."""
    made, asked = (section.model_dump(exclude={"max_val_loss"}) for section in (manifest.config, config))
    wrong = [f"{key}: made with {made[key]}, study has {asked[key]}" for key in asked if made[key] != asked[key]]
    return _by("manifest", _counted("config", "the base was made with the study's keys", wrong))


def config_beside(beside: object, manifest: Manifest) -> Check:
    """The transformers config beside the checkpoint describes the manifest's model: other readers go by it."""
    asked = opt_config(manifest.config.own)
    found = beside if isinstance(beside, dict) else {}
    wrong = [f"{key}: {found.get(key)!r}, manifest {asked[key]!r}" for key in asked if found.get(key) != asked[key]]
    return _by("manifest", _counted("config.json", "the config beside the checkpoint is the manifest's model", wrong))


def static(parts: Sequence[Part]) -> Iterator[Check]:
    """Nothing is left at an initialisation, half missing or out of proportion: what the file alone can tell, of any
    model."""
    alignment = alignments(parts)
    yield aligned(parts, alignment)
    yield spectra(parts, alignment)
    yield constants(parts)
    yield from of_values(parts)


def aligned(parts: Sequence[Part], found: Mapping[str, float]) -> Check:
    """Every matrix shares directions with its neighbours, as only training brings about, whatever the initialisation.

    ``found`` is what ``alignments`` says of the parts. None of 1,032 fresh matrices passed. Honest ones have 35
    or more after 250 steps, 6 after 60; `snakemake guard` counts false alarms.
    """
    if not found:
        return _check("aligned", True, 0.0, 0.0, "not judged: no two matrices meet in a space of one size")
    sentence = "alignment with neighbouring matrices, in standard deviations of random numbers"
    return _of_tensors(_at_least("aligned", sentence, found, ALIGNMENT_LIMIT), parts)


def spectra(parts: Sequence[Part], alignment: Mapping[str, float]) -> Check:
    """No matrix has the spectrum of the usual fresh initialisations of language models.

    These are normal numbers with spread 0.02 and, for what writes to the residual stream, 0.02 / sqrt(2 layers)
    (Radford et al., "Language models are unsupervised multitask learners", 2019). A trained matrix may have such a
    spectrum by chance; those whose ``alignment`` shows beyond doubt that they are trained are left out.
    """
    layers = len({part.layer for part in parts if part.layer is not None})
    spreads = {INIT_STD, INIT_STD / math.sqrt(2 * max(layers, 1))}
    measured = {
        part.name: distance_from_fresh(part.values.float().numpy(), *spreads)
        for part in parts
        if part.kind in ("matrix", "embedding") and alignment.get(part.name, 0.0) < CLEARLY_ALIGNED
    }
    if not measured:
        return _check("spectrum", True, 0.0, 0.0, "every matrix is trained beyond doubt by its alignment")
    check = _at_least("spectrum", "squared singular values against Marchenko-Pastur, KS x n", measured, SPECTRUM_LIMIT)
    return _of_tensors(check, parts)


def constants(parts: Sequence[Part]) -> Check:
    """No bias is still 0, no norm's weight still 1. Needs no manifest. Left out: ``Part.may_stay``."""
    measured = {}
    for part in parts:
        if part.kind in ("bias", "norm weight", "norm bias") and not part.may_stay:
            start = 1.0 if part.kind == "norm weight" else 0.0
            measured[part.name] = float((part.values.float() - start).square().mean().sqrt())
    if not measured:
        return _check("constants", True, 0.0, 0.0, "the model has no biases and no norms")
    check = _at_least("constants", "root mean square of biases, and of norms from 1", measured, CONSTANT_LIMIT)
    return _of_tensors(check, parts)


def _of_tensors(check: Check, parts: Sequence[Part]) -> Check:
    """A check of parts, whose failures are those of the tensors that the parts belong to."""
    tensor_of = {part.name: part.tensor for part in parts}
    return check.model_copy(update={"tensors": sorted({tensor_of[name] for name in check.tensors})})


def moved(model: nn.Module, start: nn.Module) -> Check:
    """Every matrix has left the very initialisation that its seed drew."""
    first = dict(_matrices(start))
    measured = {name: float((used - first[name]).norm() / first[name].norm()) for name, used in _matrices(model)}
    sentence = "distance from the seed's initialisation, relative to its length"
    return _by("manifest", _at_least("moved", sentence, measured, MOVED_LIMIT))


def same_corpus(corpus: Path | str, manifest: Manifest) -> Check:
    """The corpus is the one that the base was trained on."""
    found = files.sha256(corpus)
    wrong = [] if found == manifest.corpus_sha256 else [f"sha256 {found}, manifest {manifest.corpus_sha256}"]
    return _by("manifest", _counted("corpus", "the corpus is the one trained on", wrong))


def loss_reproduced(loss: float, manifest: Manifest) -> Check:
    """The validation loss is what the manifest says."""
    off = abs(loss - manifest.val_loss)
    detail = f"validation loss {loss:.6f} nats/char, manifest {manifest.val_loss:.6f}"
    return _by("manifest", _check("val_loss_reproduced", off <= LOSS_TOLERANCE, off, LOSS_TOLERANCE, detail))


def loss_low(loss: float, limit: float) -> Check:
    """The validation loss is good enough for a base."""
    sentence = "validation loss, nats/char, at most base.max_val_loss"
    return _by("text", _check("val_loss", loss <= limit, loss, limit, sentence))


def _matrices(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Matrices by name, without the rows of the positions that OPT never uses: those keep their first values."""
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2:
            yield name, tensor[POSITION_OFFSET:] if name.endswith("embed_positions.weight") else tensor


def _none_of(name: str, sentence: str, wrong: Mapping[str, str]) -> Check:
    check = _counted(name, sentence, [f"{tensor}: {problem}" for tensor, problem in sorted(wrong.items())])
    return check.model_copy(update={"tensors": sorted(wrong)})


def _counted(name: str, sentence: str, wrong: Iterable[str]) -> Check:
    listed = list(wrong)
    return _check(name, not listed, float(len(listed)), 0.0, "; ".join(listed) or sentence)


def _at_least(name: str, sentence: str, measured: Mapping[str, float], limit: float) -> Check:
    low = {tensor: value for tensor, value in sorted(measured.items()) if not value >= limit}  # NaN is low, too
    listed = "; ".join(f"{tensor}: {value:.3g}, expected at least {limit:g}" for tensor, value in low.items())
    least = min(measured.values(), key=lambda value: -math.inf if math.isnan(value) else value)
    found = {name: finite(value) for name, value in measured.items()}
    return _check(name, not low, least, limit, listed or sentence).model_copy(
        update={"tensors": list(low), "by_module": found}
    )


def _by(needs: Literal["text", "manifest"], check: Check) -> Check:
    return check.model_copy(update={"needs": needs})


def _check(name: str, passed: bool, measured: float, limit: float, detail: str) -> Check:
    return Check(name=name, passed=passed, measured=finite(measured), limit=limit, detail=detail)
