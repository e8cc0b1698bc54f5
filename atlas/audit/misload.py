"""The confound, written down: load the base as a careless loader would, and see whether verification refuses it.

The loader has a wrong map of names and does not insist on all of them (`strict=False`), so the modules that it
misses stay as they were drawn. The draw is the one that the study's arms on such a base declare for a block of seeds:
these are the very weights that those arms train on there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from atlas.audit.misload_report import Misload, MisloadReport
from atlas.base.certify import verify_checkpoint
from atlas.base.checkpoint import read_manifest
from atlas.base.model import Transformer, fresh, opt_config
from atlas.guard.faults.kinds import wrong_names
from atlas.guard.formats import CONFIG, read_tensors
from atlas.guard.tensors import fingerprint
from atlas.study.settings import Role, Settings
from atlas.ttt.frozen import reinitialise
from atlas.workflow import files, progress
from atlas.workflow.steps import add_base, add_spec, parser, run_step


class Misloads(Settings):
    """The part of the study that this step depends on."""

    reinit: list[list[Role]] = Field(min_length=1, description="roles that a loader misses, one list a loader")
    base_seed: int
    seeds: list[int] = Field(min_length=1, description="the block of seeds whose draw is taken")


def load_carelessly(model: nn.Module, tensors: Mapping[str, Tensor], rename: Callable[[str], str]) -> list[str]:
    """Load under the names that ``rename`` gives, as far as the model has them. Returns what was missed, sorted.

    PyTorch returns the list as well; the essay's loader, like many, did not look at it.
    """
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    return sorted(model.load_state_dict(renamed, strict=False).missing_keys)


def misloaded(
    checkpoint: Path, manifest: Path, reinit: Sequence[Role], base_seed: int, seeds: Sequence[int]
) -> tuple[Transformer, list[str]]:
    """The model that a careless loader makes of a checkpoint, and the tensors that it missed."""
    config = read_manifest(manifest).config
    model = fresh(config.own, config.seed, config.replica)
    reinitialise(model, reinit, base_seed, seeds)
    return model, load_carelessly(model, read_tensors(checkpoint), wrong_names(reinit))


def judge(checkpoint: Path, manifest: Path, corpus: Path, folder: Path, spec: Misloads) -> list[Misload]:
    """Write each mis-loaded base below ``folder`` and verify it, without the manifest and with it."""
    found = []
    for reinit in spec.reinit:
        model, missed = misloaded(checkpoint, manifest, reinit, spec.base_seed, spec.seeds)
        path = folder / f"misloaded-{'-'.join(reinit)}" / checkpoint.name
        with files.together(path) as stage:
            files.write_json(stage / CONFIG, opt_config(model.config))
            (stage / path.name).write_bytes(to_safetensors(model.state_dict(), metadata={"format": "pt"}))
        found.append(
            Misload(
                reinit=list(reinit),
                seeds=spec.seeds,
                missed=missed,
                fingerprint=fingerprint(model.state_dict()),
                without_manifest=verify_checkpoint(path, None, corpus),
                with_manifest=verify_checkpoint(path, manifest, corpus),
            )
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Mis-load and verify by the command line; see ``python -m atlas.audit.misload --help``."""
    options = parser(__doc__)
    add_spec(options, Misloads)
    add_base(options, threads=2)
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
    options.add_argument(
        "--out", type=Path, required=True, help="misloaded.json, to be written; checkpoints go beside it"
    )
    args = options.parse_args(arguments)
    torch.set_num_threads(args.threads)
    found = judge(args.checkpoint, args.manifest, args.corpus, args.out.parent, args.spec)
    files.publish_json(args.out, MisloadReport(misloads=found).model_dump())
    refused = sum(not (each.without_manifest.passed or each.with_manifest.passed) for each in found)
    progress.say(f"guard: {refused} of {len(found)} mis-loaded bases refused, see {args.out}")


if __name__ == "__main__":
    run_step(main)
