"""Measure the second moment of every layer's keys on the corpus: what editors must not move.

Meng et al. 2022 call C = E[k k'] the covariance of keys, though it is not centred. It is measured once, on the base,
from windows of the model's context spread evenly over the training part of the corpus, and serves every editor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.study.jobs import Keys
from atlas.ttt.editors.certified import CertifiedBase
from atlas.ttt.editors.passes import watched
from atlas.ttt.engine.lanes import sites
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, parser, run_step

TOKENS_AT_ONCE = 4096


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure by the command line; see ``python -m atlas.ttt.editors.covariance --help``."""
    options = parser(__doc__)
    add_spec(options, Keys)
    CertifiedBase.add_options(options, "moments, safetensors")
    args = options.parse_args(arguments)
    base = CertifiedBase.read(args)
    tokens = base.model.text.encode(base.training, str(args.corpus))
    windows = evenly(tokens, base.model.config.context, args.spec.characters)
    about = {"base_fingerprint": base.manifest.fingerprint, "characters": windows.size}
    moments = key_moments(base.model, windows)
    with files.together(args.out) as stage:  # one metadata key: several come in random order
        (stage / args.out.name).write_bytes(to_safetensors(moments, metadata={"atlas": json.dumps(about)}))
    progress.say(f"covariance: keys of {windows.size:,} tokens, see {args.out}")


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


def read_moments(path: Path | str, fingerprint: str) -> dict[str, Tensor]:
    """Read the moments of a base's keys, by the matrices' paths.

    Raises AtlasError where the file is missing or damaged, or was measured on a base of another fingerprint.
    """
    if not Path(path).is_file():
        raise AtlasError(f"{path}: no such file; make it with atlas.ttt.editors.covariance, or by running snakemake")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["atlas"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, KeyError, ValueError) as error:
        raise AtlasError(
            f"{path}: not a file of moments ({str(error).splitlines()[0]}); delete it and run again to remake it"
        ) from None
    if about["base_fingerprint"] != fingerprint:
        raise AtlasError(
            f"{path}: keys of base {about['base_fingerprint']}, expected {fingerprint}; delete it and run again"
        )
    return tensors


if __name__ == "__main__":
    run_step(main)
