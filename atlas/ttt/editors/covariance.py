"""Measure the second moment of every layer's keys on a text: what editors must not move.

Meng et al. 2022 call C = E[k k'] the covariance of keys, though it is not centred. It is measured once, on the base,
and serves every editor. The text is windows of the model's context, spread evenly over the training part of the corpus,
or written by the base itself. A moment that can hardly be inverted is refused: edits of any length would come of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.study.jobs import SOURCES, Keys
from atlas.ttt.editors.certified import CertifiedBase
from atlas.ttt.editors.passes import watched
from atlas.ttt.editors.sampling import write_texts
from atlas.ttt.engine.lanes import sites
from atlas.ttt.run_files import LeftAlone
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, parser, run_step

TOKENS_AT_ONCE = 4096
LARGEST_CONDITION = 1e7
"""Of a second moment with each unit in its own scale, so that a few units of huge values do not count. Measured: 3e3
to 9e4 of a small base from here, 3e2 to 3e5 of SmolLM2-135M's layers, both of 65,536 tokens; 4e7 and more of as many
tokens as keys have dimensions, and of fewer whatever rounding leaves."""


class KeySpec(Keys):
    """What decides the moments besides the base and its corpus."""

    seed: int = Field(0, description="draws the text that the base writes itself")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure by the command line; see ``python -m atlas.ttt.editors.covariance --help``."""
    options = parser(__doc__)
    add_spec(options, KeySpec)
    CertifiedBase.add_options(options, "moments, safetensors")
    args = options.parse_args(arguments)
    spec: KeySpec = args.spec
    base = CertifiedBase.read(args)
    length = base.model.config.context
    if spec.source == "corpus":
        windows = evenly(base.model.text.encode(base.training, str(args.corpus)), length, spec.characters)
    else:
        progress.say(f"covariance: the base writes {spec.characters:,} tokens of text itself")
        windows = sampled(base.model, length, max(1, spec.characters // length), spec.seed)
    enough(base.model, windows.size)
    moments = key_moments(base.model, windows)
    condition = conditioned(moments, windows.size)
    left_alone = LeftAlone(tokens=windows.size, source=spec.source)
    about = {"base_fingerprint": base.manifest.fingerprint, "condition": condition, **left_alone.model_dump()}
    with files.together(args.out) as stage:  # one metadata key: several come in random order
        (stage / args.out.name).write_bytes(to_safetensors(moments, metadata={"atlas": json.dumps(about)}))
    progress.say(
        f"covariance: keys of {windows.size:,} tokens ({SOURCES[spec.source]}), condition number at most "
        f"{condition:.0e}, see {args.out}"
    )


def evenly(tokens: np.ndarray, length: int, most: int) -> np.ndarray:
    """Windows spread evenly over a text, unsigned, (windows, length), as many as ``most`` tokens fill or all there are.

    Raises AtlasError where the text is shorter than one window.
    """
    whole = len(tokens) // length
    if not whole:
        raise AtlasError(f"corpus: {len(tokens)} tokens to train on, expected at least {length}; give a longer text")
    count = min(whole, max(1, most // length))
    chosen = np.arange(count) * whole // count
    return tokens[: whole * length].reshape(whole, length)[chosen]


def sampled(model: LanguageModel, length: int, count: int, seed: int) -> np.ndarray:
    """Windows of text that a model writes itself, from the start of a line on: unsigned, (count, length)."""
    written = write_texts(model, length - 1, [rng(seed, "keys", i) for i in range(count)])
    return np.pad(written, ((0, 0), (1, 0)), constant_values=model.text.start)


def enough(model: LanguageModel, tokens: int) -> None:
    """AtlasError where keys of so many tokens cannot span the inputs of every `down` matrix."""
    inputs = max(site.linear.in_features for site in sites(model) if site.role == "down")
    if tokens < inputs:
        raise AtlasError(
            f"keys.characters: {tokens:,} tokens of text, expected at least {inputs:,}, as many as keys have "
            "dimensions, and better ten times that; raise it, or give a longer text"
        )


def conditioned(moments: Mapping[str, Tensor], tokens: int) -> float:
    """The largest condition number of moments of keys of so many tokens, with each unit in its own scale.

    Raises AtlasError where one is above ``LARGEST_CONDITION``, or a moment is of no finite numbers.
    """
    largest = 0.0
    for path, moment in moments.items():
        scale = moment.diagonal().rsqrt()
        values = torch.linalg.eigvalsh((scale[:, None] * moment * scale).nan_to_num())
        condition = float(values[-1] / values[0]) if values[0] > 0 else math.inf
        if condition > LARGEST_CONDITION or not moment.isfinite().all():
            raise AtlasError(
                f"keys.characters: keys of {tokens:,} tokens have a second moment at {path} with condition number "
                f"{condition:.0e}, expected at most {LARGEST_CONDITION:.0e}, so edits could be of any length; raise "
                "it, or give a text that repeats itself less"
            )
        largest = max(largest, condition)
    return largest


@torch.inference_mode()
def key_moments(model: LanguageModel, windows: np.ndarray) -> dict[str, Tensor]:
    """E[k k'] of the inputs of every `down` matrix, by the matrix's path: float64, (in, in).

    Args:
        model: its forward takes tokens, (windows, time).
        windows: token ids, (windows, time).
    """
    found = {site.path: site.linear for site in sites(model) if site.role == "down"}
    sums = {
        path: linear.weight.new_zeros(linear.in_features, linear.in_features).double() for path, linear in found.items()
    }
    at_once = max(1, TOKENS_AT_ONCE // windows.shape[1])
    with watched(found) as seen:
        for start in range(0, len(windows), at_once):
            model(torch.from_numpy(windows[start : start + at_once].astype(np.int64)))
            for path, one in seen.items():
                sums[path] += one.into.T @ one.into  # a batch in float32, its sum in float64
    moments = {}
    for path, total in sums.items():
        # a unit that the text never moves, such as a ReLU that is dead, weighs what one does on average: a moment
        # without any weight there could not be inverted, and a fact that needs the unit would have it for nothing
        moment = total / windows.size
        weights = moment.diagonal()
        moments[path] = moment + torch.diag((weights == 0) * weights.mean())
    return moments


def read_moments(path: Path | str, fingerprint: str) -> tuple[dict[str, Tensor], LeftAlone]:
    """Read the moments of a base's keys, by the matrices' paths, and of what text they are.

    Raises AtlasError where the file is missing or damaged, or was measured on a base of another fingerprint.
    """
    if not Path(path).is_file():
        raise AtlasError(f"{path}: no such file; make it with atlas.ttt.editors.covariance, or by running snakemake")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["atlas"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        left_alone = LeftAlone(tokens=about["tokens"], source=about["source"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise AtlasError(
            f"{path}: not a file of moments ({str(error).splitlines()[0]}); `atlas check --remake` and then snakemake "
            "make it anew"
        ) from None
    if about["base_fingerprint"] != fingerprint:
        raise AtlasError(
            f"{path}: keys of base {about['base_fingerprint']}, expected {fingerprint}; run snakemake again, which "
            "remakes it"
        )
    return tensors, left_alone


if __name__ == "__main__":
    run_step(main)
