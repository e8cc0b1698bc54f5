"""One rung of the search for one arm, or a part of it, from its command line to its file, whatever teaches in it."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch

from atlas.search.halving import survivors
from atlas.search.schema import TRIALS
from atlas.search.trial import Trial, attempt
from atlas.study.jobs import RungSpec
from atlas.ttt.inputs import Given, Inputs
from atlas.ttt.resume import Saved
from atlas.ttt.teacher import Teacher
from atlas.workflow import files, progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import add_spec, environment, parser


@dataclass
class Done:
    """The trials of this rung that are finished; candidates by their places in the spec."""

    trials: list[Trial] = field(default_factory=list)


def carry_out(
    step: str, doc: str | None, teacher: Callable[[Given], Teacher], arguments: Sequence[str] | None = None
) -> None:
    """Try a rung's candidates: the ``main`` of the module ``step``, whose docstring is ``doc``."""
    args = _parse(doc, arguments)
    spec: RungSpec = args.spec
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    names = [*spec.candidates]
    mine = due(spec, args.previous)[args.part :: spec.jobs]
    inputs, scratch = Inputs.of(args), args.out.with_name(f".{args.out.stem}")
    identity = json.dumps([inputs.identity(spec, step), mine])
    saved = Saved(scratch, identity)
    done = saved.load(Done())
    with progress.tracker(f"search {spec.run.arm} rung {len(spec.rungs) - 1}", len(mine)) as tracker:
        for name in mine:
            place = names.index(name)
            if place not in {trial.candidate for trial in done.trials}:
                one = Saved(scratch / name, identity)
                done.trials += attempt(spec.trial(name), inputs, teacher, place, one)
                saved.offer(done)
            best = max(trial.recall for trial in done.trials)
            tracker.advance(f"best recall so far {best:.1%}")
    write(args.out, step, spec, done.trials)
    if scratch.exists():  # a part may be left without any candidate
        shutil.rmtree(scratch)


def due(spec: RungSpec, previous: Sequence[Path]) -> list[str]:
    """The candidates of this rung: all, or those that survive of the trials of the rung before."""
    if len(spec.rungs) == 1:
        return [*spec.candidates]
    trials = pd.concat([files.read_parquet(path, TRIALS).to_pandas() for path in previous])
    return survivors(trials, spec.counts[-1])


def write(out: Path, step: str, spec: RungSpec, trials: Iterable[Trial]) -> None:
    """Write the trials as a table."""
    names = [*spec.candidates]
    rows = []
    for trial in trials:
        name, values = names[trial.candidate], astuple(trial)[1:]
        head = (spec.run.arm, name, len(spec.rungs) - 1, spec.rungs[-1])
        rows.append((*head, *values, spec.candidates[name].searched.model_dump_json()))
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in TRIALS]
    table = pa.table(dict(zip(TRIALS.names, columns, strict=True)), schema=TRIALS)
    provenance = {"step": step, "code_digest": code_digest(step)}
    files.write_parquet(out, table, {**provenance, **environment("torch", "numpy")})


def _parse(doc: str | None, arguments: Sequence[str] | None) -> Namespace:
    options = parser(doc)
    add_spec(options, RungSpec)
    Inputs.add_options(options)
    options.add_argument("--previous", type=Path, nargs="*", default=[], help="trials of the rung before, all parts")
    options.add_argument("--part", type=int, default=0, help="which of the rung's jobs this is, from 0")
    options.add_argument("--out", type=Path, required=True, help="trials.parquet, to be written")
    return options.parse_args(arguments)
