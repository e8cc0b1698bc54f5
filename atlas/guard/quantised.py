"""A GGUF file against the safetensors that it was made from: each tensor within the error of its own quantisation.

How far a number may lie from the one that it stands for is a matter of its block's step, the gap between neighbouring
codes there. Rounding to the nearest leaves a root mean square of 0.29 steps; optimised scales, which may cut off the
largest values, leave a little more. A row from elsewhere is off by many steps.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from atlas.errors import AtlasError
from atlas.guard.formats import COMPUTED, GgufFile, is_gguf
from atlas.guard.reading import checkpoint_in, plainly
from atlas.guard.report import FITS, Certificate, Report
from atlas.guard.tensors import fingerprint
from atlas.guard.verification import Foreign, read_foreign
from atlas.guard.weight_checks import bounded, counted, fit, mismatches


class Codes(NamedTuple):
    """Where a kind of block holds its codes, and the bytes that are one step in each of them."""

    start: int
    end: int
    one: int


CODES: Mapping[str, Codes] = {
    "Q4_0": Codes(2, 18, 0x11),
    "Q4_1": Codes(4, 20, 0x11),
    "Q5_0": Codes(6, 22, 0x11),
    "Q5_1": Codes(8, 24, 0x11),
    "Q8_0": Codes(2, 34, 0x01),
    "Q2_K": Codes(16, 80, 0x55),
    "Q3_K": Codes(32, 96, 0x55),
    "Q4_K": Codes(16, 144, 0x11),
    "Q5_K": Codes(48, 176, 0x11),
    "Q6_K": Codes(0, 128, 0x11),
}
"""Kinds whose codes are evenly spaced, by the layout of ggml's blocks (ggml-common.h)."""
ROUNDED: Mapping[str, tuple[float, float]] = {"F64": (0, 0), "F32": (0, 0), "F16": (2**-10, 2**-24), "BF16": (2**-7, 0)}
"""Kinds that hold numbers: the gap to the next one, as a share of the number and at least."""
BLOCK = 256  # numbers that are judged together: a block of the K kinds, eight of the others
UNEVEN = 1.2  # of other kinds the step is taken as so many times a block's root mean square: all that they promise
ROUGH_LIMIT = 0.75  # root mean square error of a block, in steps; 0.29 by rounding
FAR_LIMIT = 4.0  # largest error of one number, in steps of its block: optimised scales cut the largest numbers off
EXACT_LIMIT = 0.6  # the same where nothing is optimised: half a step, and the rounding of the step to 16 bits
EXACT = {"Q8_0", *ROUNDED}
KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps")
GPT2_KEYS = ("n_embd", "n_layer", "n_head", "layer_norm_epsilon")


def compare(path: Path, folder: Path) -> Report:
    """Hold a GGUF file against the checkpoint that it was made from, tensor by tensor.

    Raises AtlasError where the first is not GGUF, the second is, or one of them cannot be read.
    """
    with plainly():
        checkpoint, origin = checkpoint_in(path), checkpoint_in(folder)
        for given, wanted in ((checkpoint, True), (origin, False)):
            if not given.is_file():
                raise AtlasError(f"{given}: no such file; check the path")
            if is_gguf(given) != wanted:
                kind = "a GGUF file" if wanted else "the folder of safetensors that it was made from"
                raise AtlasError(f"{given}: expected {kind}; say `atlas verify FILE.gguf --against FOLDER`")
        file, source = GgufFile(checkpoint), read_foreign(folder)
        certificate = _compared(file, source)
    kinds = ", ".join(f"{many} as {kind}" for kind, many in Counter(file.stored.values()).most_common())
    words = f"{file.config['model_type']}; GGUF: {kinds}; against {origin}"
    return Report.of_checks(certificate, path, words, {"whether that checkpoint is sound": f"atlas verify {folder}"})


def _compared(file: GgufFile, source: Foreign) -> Certificate:
    computed = re.compile(COMPUTED)
    found = {name: tensor for name, tensor in file.tensors.items() if not computed.fullmatch(name)}
    expected = _expected(source, found.keys())
    checks = fit([*source.misplaced, *mismatches(found, expected)])
    differences = list(_differences(file.config, source.config))
    checks.append(counted("config", "the file's config is the folder's", differences))
    if all(check.passed for check in checks if check.name in FITS):
        exact, rough, far = dict[str, float](), dict[str, float](), dict[str, float]()
        for entry in file.entries:
            values = file.numbers(entry)
            name, places = file.places(entry, values.shape)
            if name not in expected:
                continue
            original = np.empty(values.size, np.float32)
            original[places.ravel()] = expected[name].numpy().ravel()
            kind = entry.tensor_type.name
            mean, largest = _errors(values.ravel(), original, steps_of(file, entry, original))
            (exact if kind in EXACT else far)[name] = largest
            if kind not in EXACT:
                rough[name] = mean
        checks.append(bounded("exact", "largest error of a number, in steps", exact, "at most", EXACT_LIMIT))
        checks.append(bounded("rough", "root mean square error of a block, in steps", rough, "at most", ROUGH_LIMIT))
        checks.append(bounded("far", "largest error of a number, in steps of its block", far, "at most", FAR_LIMIT))
    return Certificate.of(checks, fingerprint(found))


def _expected(source: Foreign, there: Collection[str]) -> dict[str, Tensor]:
    """The tensors of the folder by the names of a whole model, float32; a tied head only where the file has one."""
    prefix, head = source.blueprint.prefix, source.blueprint.head.name
    bare = not any(name.startswith(prefix) for name in source.trained)
    found = {f"{prefix * bare}{name}": tensor.float() for name, tensor in source.trained.items()}
    if source.blueprint.tied:
        found.pop(head, None)
        if head in there:
            found[head] = found[source.blueprint.specs[0].name]
    return found


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """What two configs say differently, of what both say."""
    for key in ("model_type", *KEYS, *GPT2_KEYS):
        mine, theirs = one.get(key), other.get(key)
        if mine is not None and theirs is not None and not _same(mine, theirs):
            yield f"{key}: {mine!r} in the file, {theirs!r} in the folder"
    mine, theirs = _theta(one), _theta(other)
    if mine is not None and theirs is not None and not _same(mine, theirs):
        yield f"rope_theta: {mine!r} in the file, {theirs!r} in the folder"


def _theta(config: Mapping[str, Any]) -> Any:
    inside = config.get("rope_parameters")
    return config.get("rope_theta", inside.get("rope_theta") if isinstance(inside, dict) else None)


def _same(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6)  # GGUF holds them in 32 bits
    return one == other


def steps_of(file: GgufFile, entry: Any, original: np.ndarray) -> np.ndarray:
    """The gap between neighbouring codes at each number of an entry, (numbers,), in the file's order."""
    from gguf import GGML_QUANT_SIZES

    kind = entry.tensor_type.name
    if kind in ROUNDED:
        share, least = ROUNDED[kind]
        return np.asarray(np.abs(original) * share + least)
    if kind not in CODES:
        cuts = np.arange(0, len(original), BLOCK)
        sizes = np.diff([*cuts, len(original)])
        means: np.ndarray = np.add.reduceat(np.square(original), cuts) / sizes
        return np.repeat(UNEVEN * np.sqrt(means), sizes)
    codes, both = CODES[kind], []
    for byte in (0, codes.one):
        data = entry.data.copy()
        data.reshape(-1, GGML_QUANT_SIZES[entry.tensor_type][1])[:, codes.start : codes.end] = byte
        both.append(file.numbers(entry, data).ravel())
    gaps: np.ndarray = np.abs(both[1] - both[0])
    if kind.endswith("_K"):  # the scales of its parts are codes themselves, in steps of the largest one
        gaps = np.repeat(gaps.reshape(-1, BLOCK).max(1), BLOCK)
    return gaps


def _errors(values: np.ndarray, original: np.ndarray, steps: np.ndarray) -> tuple[float, float]:
    """The largest root mean square error of a block in steps, and the largest error of a number, (numbers,) each."""
    error = np.abs(values.astype(np.float64) - original)
    with np.errstate(divide="ignore", invalid="ignore"):
        in_steps = np.where(error == 0, 0.0, error / steps)
    cuts = np.arange(0, len(in_steps), BLOCK)
    sizes = np.diff([*cuts, len(in_steps)])
    return float(np.sqrt(np.add.reduceat(np.square(in_steps), cuts) / sizes).max()), float(in_steps.max())
