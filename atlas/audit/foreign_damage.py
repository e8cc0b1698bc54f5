"""Detection on other architectures: damage a small honest model of one in every way, and see which checks refuse it.

Four views of the same damage: the files alone, with a text, the model in memory that should hold honest files, and the
hashes and the config on record.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.audit.audit_columns import DETECTION, LEVELS
from atlas.audit.foreign_models import CONFIGS, CONTEXT, fresh, put_down, trained
from atlas.audit.subjects import UNREADABLE, detected, excerpt, refused_in_memory
from atlas.base.corpus import split
from atlas.base.text import encode
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.faults.foreign import KINDS
from atlas.guard.faults.kinds import Kind, Patient, Subject
from atlas.guard.foreign_text import load
from atlas.guard.formats import CONFIG, WHOLE, read_tensors
from atlas.guard.tensors import sha256_of
from atlas.guard.verification import inspect_foreign
from atlas.guard.weight_checks import hashes
from atlas.study.base_settings import Base
from atlas.study.config import Guard
from atlas.workflow import files, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import add_spec, environment, parser, run_step

MEASURED = 8192  # characters that the rise in loss is measured on; the checks see others


def main(arguments: Sequence[str] | None = None) -> None:
    """Damage and verify by the command line; see ``python -m atlas.audit.foreign_damage --help``."""
    options = parser(__doc__)
    add_spec(options, Guard)
    options.add_argument("--architecture", choices=sorted(CONFIGS), required=True, help="which one to train")
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
    options.add_argument("--out", type=Path, required=True, help="Parquet table to write")
    args = options.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="atlas-guard-") as scratch:
        bench = ForeignBench(Path(scratch), args.spec, args.architecture, excerpt(files.read_text(args.corpus)))
        rows, alarms = list(bench.rows(KINDS)), ", ".join(sorted(bench.alarms))
    step, versions = "atlas.audit.foreign_damage", environment("torch", "transformers")["versions"]
    provenance = {"step": step, "code_digest": code_digest(step), "versions": versions}
    files.write_parquet(args.out, pa.Table.from_pylist(rows, DETECTION), provenance)
    progress.say(f"guard: {len(rows)} damaged models of {args.architecture} verified, see {args.out}")
    progress.say(f"guard: the honest one {f'is refused for {alarms}' if alarms else 'passes'}")


class ForeignBench:
    """A small honest model of one architecture in a folder, and what is measured on each damaged copy of it."""

    def __init__(self, folder: Path, guard: Guard, architecture: str, text: str) -> None:
        self.guard, self.name = guard, architecture
        self.honest, self.damaged, self.text = folder / "honest", folder / "damaged", folder / "text.txt"
        training, validation = split(text, Base().validation)
        self.tokens = torch.from_numpy(encode(validation[-MEASURED - 1 :]).astype(np.int64))
        files.write_text(self.text, validation[: -MEASURED - 1])
        put_down(self.honest, trained(architecture, encode(training), guard.foreign_steps))
        put_down(self.damaged, fresh(architecture, 10_007))
        config, drawn = files.read_json(self.honest / CONFIG), read_tensors(self.damaged / WHOLE)
        self.subject = Subject(config, read_tensors(self.honest / WHOLE), drawn)
        self.recorded = {name: sha256_of(values) for name, values in self.subject.tensors.items()}
        model = load(self.honest)
        self.clean, self.alarms = self._run(model), set[str]()
        self.alarms = self._refused(self.honest, self.text) | refused_in_memory(model, self.honest)

    def rows(self, kinds: Sequence[Kind]) -> Iterator[dict[str, Any]]:
        """One row of ``DETECTION`` for each kind and each of the places that are drawn for it."""
        with progress.tracker(f"damage to {self.name}", len(kinds)) as tracker:
            for each in kinds:
                yield from (self.row(each, place, draw) for place, draw in self.cases(each))
                tracker.advance(each.name)

    def cases(self, each: Kind) -> Iterator[tuple[str, np.random.Generator]]:
        """The places that are drawn for a kind, and what draws the damage to them, in turn."""
        places = each.places(self.subject)
        draw = rng(self.guard.seed, "guard", self.name, each.family, each.name)
        chosen = {int(at) for at in draw.permutation(len(places))[: self.guard.modules]}
        chosen |= {at for at, place in enumerate(places) if place == "all"}
        yield from ((places[at], draw) for at in sorted(chosen))

    def damage(self, each: Kind, place: str, draw: np.random.Generator) -> Patient:
        """Do one damage, and write it to the folder ``damaged``."""
        to = Patient.of(self.subject, draw)
        each.damage(to, place)
        shutil.copytree(self.honest, self.damaged, dirs_exist_ok=True)
        (self.damaged / WHOLE).write_bytes(to.written())
        files.write_json(self.damaged / CONFIG, to.config)
        return to

    def row(self, each: Kind, place: str, draw: np.random.Generator) -> dict[str, Any]:
        """Do one damage, and see what each view refuses of it, and what it costs."""
        to = self.damage(each, place, draw)
        measured, model = None, self._loaded(to)
        if model is not None:
            loss, logits = self._run(model)
            measured = loss - self.clean[0], float((logits - self.clean[1]).abs().max())
        found = {"file": self._refused(self.damaged)}  # but for what the honest model is refused for
        # what the files alone give away needs no text
        found["text"] = found["file"] or self._refused(self.damaged, self.text)
        found["model"] = {UNREADABLE} if model is None else refused_in_memory(model, self.honest) - self.alarms
        record = hashes(to.tensors, self.recorded)
        found["manifest"] = set() if record.passed else {record.name}
        found["manifest"] |= {"config"} if to.config != self.subject.config else set()
        seen: set[str] = set()
        return detected(self.name, each, place, measured, {level: (seen := seen | found[level]) for level in LEVELS})

    def _loaded(self, to: Patient) -> nn.Module | None:
        """The damaged model as `transformers` makes it; None where it does not load whole."""
        try:
            model = load(self.damaged)
        except AtlasError:
            return None
        for change in to.in_memory:
            change(model)
        return model

    def _refused(self, folder: Path, text: Path | None = None) -> set[str]:
        try:
            return {check.name for check in inspect_foreign(folder, text=text).failed} - self.alarms
        except AtlasError:
            return {UNREADABLE}

    @torch.no_grad()
    def _run(self, model: nn.Module) -> tuple[float, Tensor]:
        """Loss on the text kept for measuring, and all logits, (windows, context, symbols)."""
        logits: Tensor = model(self.tokens[:-1].view(-1, CONTEXT), use_cache=False).logits
        return float(F.cross_entropy(logits.flatten(0, 1), self.tokens[1:])), logits


if __name__ == "__main__":
    run_step(main)
