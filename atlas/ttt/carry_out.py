"""A run from its command line to its files, whatever teaches in it."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors

from atlas.study.jobs import RunSpec
from atlas.ttt import hub
from atlas.ttt.course import Course
from atlas.ttt.inputs import PACKAGES, Given, Inputs, prepare
from atlas.ttt.records import facts_table, matrix_table, sessions_table
from atlas.ttt.resume import Saved
from atlas.ttt.schema import RunRecord
from atlas.ttt.teacher import Teacher
from atlas.workflow import files, progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import add_spec, environment, now, parser


def carry_out(
    step: str, doc: str | None, teacher: Callable[[Given], Teacher], arguments: Sequence[str] | None = None
) -> None:
    """Run one arm and block: the ``main`` of the module ``step``, whose docstring is ``doc``."""
    args = _parse(doc, arguments)
    spec: RunSpec = args.spec
    started, clock = now(), time.perf_counter()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    inputs = Inputs.of(args)
    setting = prepare(spec, inputs, teacher)
    course = setting.course
    saved = Saved(args.out, inputs.identity(spec, step))
    course.run(f"ttt {spec.arm} seeds {args.out.name}", saved)

    losses = setting.base_loss()
    record = RunRecord(
        **spec.model_dump(
            include={"arm", "seeds", "targets", "ranks", "recipe", "reinit", "method", "editing"}, warnings="error"
        ),
        trainable_params=course.adapters.parameters,
        base_params=setting.base_params,
        base_fingerprint=setting.manifest.fingerprint,
        frozen=setting.watch.close(),
        code_digest=code_digest(step),
        start=files.sha256(hub.files_of(inputs.start)[-1]) if inputs.start else None,
        val_loss=losses,
        growth=setting.growth(),
        started=started,
        finished=now(),
        seconds=course.state.seconds_before + time.perf_counter() - clock,
        threads=args.threads,
        resumed_after=course.state.resumed_after,
        **environment(*PACKAGES),
    )
    save(args.out, course, record)
    saved.discard()
    progress.say(f"ttt {spec.arm} seeds {args.out.name}: done, see {args.out}/")


def _parse(doc: str | None, arguments: Sequence[str] | None) -> Namespace:
    options = parser(doc)
    add_spec(options, RunSpec)
    Inputs.add_options(options)
    options.add_argument("--out", type=Path, required=True, help="folder for the run's files")
    return options.parse_args(arguments)


def save(out: Path, course: Course, record: RunRecord) -> None:
    """Write the run's files, all together or none; run.json comes last."""
    provenance = record.model_dump(include={"arm", "seeds", "base_fingerprint", "code_digest", "versions"})
    # one metadata key only: safetensors writes several in random order, and the same run gives the same bytes
    about = {"atlas": json.dumps({"arm": record.arm, "lanes": record.seeds, "alpha": course.spec.alpha})}
    with files.together(out / "run.json") as stage:
        for name, table in (("facts", facts_table), ("matrix", matrix_table), ("sessions", sessions_table)):
            files.write_parquet(stage / f"{name}.parquet", table(course), provenance)
        adapters = to_safetensors(course.adapters.named(torch.from_numpy(course.state.learner.theta)), metadata=about)
        (stage / "adapters.safetensors").write_bytes(adapters)
        files.write_json(stage / "run.json", record.model_dump(mode="json"))
