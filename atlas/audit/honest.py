"""False alarms: train honest models, keep several snapshots of each, and count those that verification refuses."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from atlas.audit.audit_columns import HONEST, HONEST_LEVELS
from atlas.audit.outsiders import DTYPES, OUTSIDERS, loss_on, trained
from atlas.audit.subjects import excerpt, loaded, put_down, refusals, snapshots, training
from atlas.base.corpus import split
from atlas.base.model import opt_config
from atlas.base.text import encode
from atlas.guard.formats import CONFIG
from atlas.guard.verification import inspect_foreign
from atlas.study.config import Guard
from atlas.workflow import files, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import add_spec, environment, parser, run_step

OWN = "atlas"  # the architecture of Atlas's own models, as the table calls it


def main(arguments: Sequence[str] | None = None) -> None:
    """Count false alarms by the command line; see ``python -m atlas.audit.honest --help``."""
    options = parser(__doc__)
    add_spec(options, Guard)
    models = options.add_mutually_exclusive_group(required=True)
    models.add_argument("--shape", type=int, help="place in guard.models, from 0")
    models.add_argument("--outsiders", action="store_true", help="tiny models of all other architectures instead")
    options.add_argument("--seeds", type=int, nargs="+", required=True, help="seeds to train")
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
    options.add_argument("--out", type=Path, required=True, help="Parquet table to write")
    args = options.parse_args(arguments)
    torch.set_num_threads(1)
    text = excerpt(files.read_text(args.corpus))
    if args.outsiders:
        rows = [row for seed in args.seeds for kind in OUTSIDERS for row in outside(args.spec, kind, seed, text)]
    else:
        rows = [row for seed in args.seeds for row in checked(args.spec, args.shape, seed, text)]
    step = "atlas.audit.honest"
    provenance = {"step": step, "code_digest": code_digest(step), **environment("torch")}
    files.write_parquet(args.out, pa.Table.from_pylist(rows, HONEST), provenance)
    alarms = sum(bool(row["failed_text"]) for row in rows)
    progress.say(f"guard: {alarms} false alarms in {len(rows)} honest checkpoints, see {args.out}")


def checked(guard: Guard, shape: int, seed: int, text: str) -> list[dict[str, Any]]:
    """Train one model and verify each of its snapshots from files; a row of ``HONEST`` each."""
    base = training(guard, shape, seed)
    tokens, validation = (encode(part) for part in split(text, base.validation))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="atlas-guard-") as scratch:
        folder = Path(scratch)
        checkpoint, manifest, excerpted = (folder / name for name in ("base.safetensors", "base.json", "text.txt"))
        files.write_text(excerpted, text)
        files.write_json(folder / CONFIG, opt_config(base.own))
        for step, tensors in snapshots(base, tokens, guard.snapshots).items():
            loss = put_down(folder, base, step, loaded(base.own, tensors), validation, excerpted)
            row = {
                "architecture": OWN,
                "dtype": "float32",
                "shape": shape,
                "seed": seed,
                "step": step,
                "val_loss": loss,
            }
            rows.append(row | refusals(checkpoint, manifest, excerpted))
    return rows


def outside(guard: Guard, kind: str, seed: int, text: str) -> list[dict[str, Any]]:
    """Train one of ``OUTSIDERS`` and verify each snapshot as its project would publish it, in each of ``DTYPES``.

    There is no manifest, and no text is looked at: all levels of ``HONEST`` have what the file alone shows.
    """
    tokens, validation = (encode(part) for part in split(text, training(guard, 0, seed).validation))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="atlas-guard-") as scratch:
        for step, model in trained(kind, seed, tokens, guard.snapshots):
            loss = loss_on(model, validation)
            for name, dtype in DTYPES.items():
                folder = Path(scratch) / f"{step}-{name}"
                copy.deepcopy(model).to(dtype).save_pretrained(folder)  # type: ignore[operator]
                failed = ", ".join(sorted(check.name for check in inspect_foreign(folder).failed))
                row = {"architecture": kind, "dtype": name, "seed": seed, "step": step, "val_loss": loss}
                rows.append(row | {f"failed_{level}": failed for level in HONEST_LEVELS})
    return rows


if __name__ == "__main__":
    run_step(main)
