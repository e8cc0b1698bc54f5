"""Detection: do every kind of damage to a checkpoint, write it as files, and see which checks refuse it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from atlas.audit.audit_columns import DETECTION, HONEST_LEVELS
from atlas.audit.subjects import (
    UNREADABLE,
    detected,
    excerpt,
    loaded,
    put_down,
    refusals,
    refused_in_memory,
    small,
    subject,
    training,
)
from atlas.base.certify import model_beside
from atlas.base.checkpoint import load_strict, read_manifest
from atlas.base.corpus import split
from atlas.base.language import validation_loss
from atlas.base.model import Transformer
from atlas.base.text import encode
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.faults.catalogue import KINDS
from atlas.guard.faults.kinds import Kind, Patient
from atlas.guard.formats import CONFIG, read_tensors
from atlas.study.config import Guard
from atlas.workflow import files, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import add_spec, environment, parser, run_step

MEASURED = 8192  # characters that the rise in loss is measured on


def main(arguments: Sequence[str] | None = None) -> None:
    """Damage and verify by the command line; see ``python -m atlas.audit.damage --help``."""
    options = parser(__doc__)
    add_spec(options, Guard)
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
    options.add_argument("--checkpoint", type=Path, help="base.safetensors; without it a small model is trained")
    options.add_argument("--manifest", type=Path, help="base.json of the checkpoint")
    options.add_argument("--part", type=int, default=0, help="which part of the kinds, from 0")
    options.add_argument("--parts", type=int, default=1, help="into how many parts they are split")
    options.add_argument("--out", type=Path, required=True, help="Parquet table to write")
    args = options.parse_args(arguments)
    torch.set_num_threads(1)
    text = excerpt(files.read_text(args.corpus))
    with tempfile.TemporaryDirectory(prefix="atlas-guard-") as scratch:
        bench = Bench(Path(scratch), args.spec, text, args.checkpoint, args.manifest)
        rows = list(bench.rows(KINDS[args.part :: args.parts]))
    step, versions = "atlas.audit.damage", environment("torch")["versions"]
    provenance = {"step": step, "code_digest": code_digest(step), "versions": versions}
    files.write_parquet(args.out, pa.Table.from_pylist(rows, DETECTION), provenance)
    progress.say(f"guard: {len(rows)} damaged checkpoints verified, see {args.out}")


class Bench:
    """One subject, laid out as files, and what is measured on each damaged copy of it."""

    def __init__(
        self, folder: Path, guard: Guard, text: str, checkpoint: Path | None = None, manifest: Path | None = None
    ) -> None:
        self.folder, self.guard, self.text = folder, guard, folder / "text.txt"
        files.write_text(self.text, text)
        training_text, validation = (encode(part) for part in split(text, training(guard, 0, 0).validation))
        self.validation = validation[-MEASURED - 1 :]
        if checkpoint and manifest:  # the study's own base; no other weights of its shape are at hand
            self.name, self.manifest, self.shape = "base", manifest, read_manifest(manifest).config.own
            self.subject = subject(self.shape, read_tensors(checkpoint))
        else:
            self.name, self.manifest, self.shape = "small", folder / "base.json", guard.models[0]
            self.subject = small(guard, training_text)
            base, model = training(guard, 0, 0), loaded(self.shape, self.subject.tensors)
            put_down(folder, base, base.training.steps, model, validation, self.text)
        self.honest = folder / "honest.safetensors"
        self.honest.write_bytes(Patient.of(self.subject, rng(0)).written())
        self.clean = self._run(loaded(self.shape, self.subject.tensors))

    def rows(self, kinds: Sequence[Kind]) -> Iterator[dict[str, Any]]:
        """One row of ``DETECTION`` for each kind and each of the places that are drawn for it."""
        with progress.tracker(f"damage to {self.name}", len(kinds)) as tracker:
            for each in kinds:
                places = each.places(self.subject)
                draw = rng(self.guard.seed, "guard", each.family, each.name)
                chosen = draw.permutation(len(places))[: self.guard.modules]
                yield from (self._row(each, places[at], draw) for at in sorted(chosen))
                tracker.advance(each.name)

    def _row(self, each: Kind, place: str, draw: np.random.Generator) -> dict[str, Any]:
        to = Patient.of(self.subject, draw)
        each.damage(to, place)
        path = self.folder / "base.safetensors"
        with files.whole(path) as scratch:
            scratch.write_bytes(to.written())
        files.write_json(self.folder / CONFIG, to.config)
        measured, in_memory = self._measured(path)
        found = refusals(path, self.manifest, self.text)
        names = {level: set(filter(None, found[f"failed_{level}"].split(", "))) for level in HONEST_LEVELS}
        names["model"] = names["text"] | in_memory
        names["manifest"] |= in_memory
        return detected(self.name, each, place, measured, names)

    def _measured(self, path: Path) -> tuple[tuple[float, float] | None, set[str]]:
        """The rise in loss and the largest change of a logit, None where the files do not load as they are; and which
        checks refuse the model in memory as that of the honest file."""
        try:
            model = Transformer(model_beside(path))
            load_strict(path, model)
        except AtlasError:
            return None, {UNREADABLE}
        loss, logits = self._run(model.eval())
        rise, change = loss - self.clean[0], float((logits - self.clean[1]).abs().max())
        return (rise, change), refused_in_memory(model, self.honest)

    def _run(self, model: Transformer) -> tuple[float, Tensor]:
        """Loss on the text kept for measuring, and logits of its first window, (1, context, 96)."""
        window = torch.from_numpy(self.validation[: self.shape.context].astype(np.int64))
        with torch.no_grad():
            return validation_loss(model, self.validation), model(window[None])


if __name__ == "__main__":
    run_step(main)
