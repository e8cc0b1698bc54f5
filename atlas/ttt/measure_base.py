"""Measure a base once, before any teaching: every phrasing of the pool that may be asked, and its validation loss.

All arms are compared with it, so no run measures it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from atlas.base.checkpoint import load_certified, read_manifest
from atlas.pool.facts import read_pool
from atlas.study.jobs import MeasureSpec
from atlas.ttt.engine.lanes import LaneModel, compute_in
from atlas.ttt.inputs import PACKAGES, computed_on, validation_tokens
from atlas.ttt.measured import decided_by, measure_base
from atlas.ttt.probes import Prober
from atlas.workflow import files, progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.steps import add_certified, add_spec, environment, parser, run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a base by the command line; see ``python -m atlas.ttt.measure_base --help``."""
    options = parser(__doc__)
    add_spec(options, MeasureSpec)
    options.add_argument("--pool", type=Path, required=True, help="pool.parquet")
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt, for the loss of the base")
    add_certified(options)
    options.add_argument("--out", type=Path, required=True, help="base-REPLICA.parquet, to be written")
    args = options.parse_args(arguments)
    spec: MeasureSpec = args.spec
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    device = computed_on(spec.device, spec.precision)
    model = load_certified(args.checkpoint, args.manifest, args.certificate)
    manifest, facts = read_manifest(args.manifest), read_pool(args.pool)
    validation = validation_tokens(args.corpus, model, manifest.config.validation, spec.val_tokens)
    compute_in(model.to(device), spec.precision)
    prober = Prober(str(args.pool), text=model.text, context=model.config.context)
    measured = measure_base(LaneModel(model), prober, facts, validation, device)
    about = {"val_loss": measured.val_loss, **decided_by(spec, manifest, args.pool, args.corpus)}
    provenance = {"step": "atlas.ttt.measure_base", **about, **environment(*PACKAGES)}
    files.write_parquet(args.out, measured.table(), provenance)
    progress.say(
        f"base {manifest.config.replica}: {len(measured.rows)} phrasings of {len(facts)} facts, "
        f"{measured.val_loss:.3f} nats per character; see {args.out}"
    )


if __name__ == "__main__":
    run_step(main)
