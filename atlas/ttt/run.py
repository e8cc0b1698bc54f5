"""Teach one arm to one block of seeds, session by session, and measure what is left at the checkpoints.

An arm that trains, that is: ``atlas.ttt.edit`` is the same for those that edit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_safetensors

from atlas.base.checkpoint import Manifest, load_certified, read_manifest
from atlas.base.corpus import split
from atlas.errors import AtlasError
from atlas.pool.facts import PLACEBO, read_pool
from atlas.study.jobs import MeasureSpec, RunSpec
from atlas.ttt import hub
from atlas.ttt.course import Course
from atlas.ttt.edit_outcomes import in_words
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import LaneModel, compute_in
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.frozen import Watch, reinitialise
from atlas.ttt.inputs import PACKAGES, Given, Inputs, computed_on, validation_tokens
from atlas.ttt.measured import decided_by, measure_base, read_measured
from atlas.ttt.plugged import adapter_of, code_behind
from atlas.ttt.probes import Prober
from atlas.ttt.recipe import Trainer
from atlas.ttt.records import base_losses, facts_table, growths, matrix_table, sessions_table
from atlas.ttt.resume import Saved
from atlas.ttt.run_files import RunRecord
from atlas.ttt.session import Teacher
from atlas.workflow import files, progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.steps import add_spec, environment, now, parser, run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one arm and block by the command line; see ``python -m atlas.ttt.run --help``."""
    carry_out("atlas.ttt.run", __doc__, trainer, arguments)


def trainer(given: Given) -> Trainer:
    """The trainer that an arm asks for; what it trains is attached to the model. AtlasError where the arm edits."""
    spec, model = given.spec, given.model
    if spec.edits:
        raise AtlasError(f"--spec: method {spec.method!r} does not train; atlas.ttt.edit is the step that edits")
    if spec.method == "finetune":
        layers = [layer for layer, rank in enumerate(spec.ranks) if rank]
        trained: LaneModel = Full.attach(model, spec.targets, layers)
    else:
        trained = Adapters.attach(model, spec.targets, spec.ranks, spec.alpha, *adapter_of(spec))
    return Trainer(trained, spec.recipe, given.device, given.text)


def carry_out(
    step: str, doc: str | None, teacher: Callable[[Given], Teacher], arguments: Sequence[str] | None = None
) -> None:
    """Run one arm and block, whatever teaches: the ``main`` of the module ``step``, whose docstring is ``doc``."""
    options = parser(doc)
    add_spec(options, RunSpec)
    Inputs.add_options(options)
    options.add_argument("--out", type=Path, required=True, help="folder for the run's files")
    args = options.parse_args(arguments)
    spec: RunSpec = args.spec
    started, clock = now(), time.perf_counter()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    inputs = Inputs.of(args)
    ready = prepare(spec, inputs, teacher)
    course = ready.course
    saved = Saved(args.out, inputs.identity(spec, step, spec.method))
    course.run(f"ttt {spec.arm} seeds {args.out.name}", saved)

    losses = base_losses(course, ready.validation)
    record = RunRecord(
        **spec.model_dump(
            include={*RunSpec.model_fields} & {*RunRecord.model_fields},
            warnings="error",
        ),
        trainable_params=course.adapters.parameters,
        base_params=sum(parameter.numel() for parameter in course.adapters.model.parameters()),
        base_fingerprint=ready.manifest.fingerprint,
        frozen=ready.watch.close(),
        code_digest=code_behind(step, spec.method),
        start=files.sha256(hub.files_of(inputs.start)[-1]) if inputs.start else None,
        left_alone=course.teacher.left_alone,
        val_loss=losses,
        growth=growths(course),
        started=started,
        finished=now(),
        seconds=course.state.seconds_before + time.perf_counter() - clock,
        threads=args.threads,
        resumed_after=course.state.resumed_after,
        **environment(*PACKAGES),
    )
    save(args.out, course, record)
    saved.discard()
    if failed := in_words(course):
        progress.say(f"ttt {spec.arm} seeds {args.out.name}: {failed}, see sessions.parquet")
    progress.say(f"ttt {spec.arm} seeds {args.out.name}: done, see {args.out}/")


@dataclass(frozen=True)
class Ready:
    """A run that is ready to begin.

    Attributes:
        watch: keeps an eye on the frozen weights.
        validation: token ids of the text that the base's loss is measured on, unsigned (tokens,).
    """

    course: Course
    manifest: Manifest
    watch: Watch
    validation: np.ndarray


def prepare(spec: RunSpec, inputs: Inputs, teacher: Callable[[Given], Teacher]) -> Ready:
    """Load the certified base, read pool and streams, let ``teacher`` attach what it changes.

    Raises AtlasError where the base is not certified, pool, streams and spec do not fit, there is no GPU to use, or no
    bfloat16 where it is asked for.
    """
    device, manifest = computed_on(spec.device, spec.precision), read_manifest(inputs.manifest)
    if manifest.config.replica != spec.base_replica:
        raise AtlasError(
            f"{inputs.manifest}: replica {manifest.config.replica} of the base, but seeds {spec.seeds} are taught on "
            f"replica {spec.base_replica}; give the base of that folder"
        )
    if inputs.measured is None and not spec.reinit:
        raise AtlasError("--measured: no file, expected base-REPLICA.parquet; make it with atlas.ttt.measure_base")
    if inputs.measured and spec.reinit:
        raise AtlasError(
            f"--measured: {inputs.measured}, expected none: the arm re-initialises {', '.join(spec.reinit)}, so it "
            "measures a base of its own; leave it out"
        )
    model = load_certified(inputs.checkpoint, inputs.manifest, inputs.certificate)
    watch = Watch(model, manifest.sha256, reinitialise(model, spec.reinit, spec.base_seed, spec.seeds))
    held_out = validation_tokens(inputs.corpus, model, manifest.config.validation, spec.probes.val_tokens)
    facts = read_pool(inputs.pool)
    streams, text = inputs.lanes(spec, facts), None
    if any(phase.text for phase in spec.recipe.active.values()):
        training, _ = split(files.read_text(inputs.corpus), manifest.config.validation)
        text = model.text.encode(training, str(inputs.corpus))
    compute_in(model.to(device), spec.precision)
    given = Given(spec, inputs, model, manifest, streams, text)
    prober = Prober(str(inputs.pool), spec.recipe.paraphrases, spec.recipe.mixed, model.text, model.config.context)
    placebo = [fact for fact in facts if fact.role == PLACEBO]
    if inputs.measured:
        asked = MeasureSpec(val_tokens=spec.probes.val_tokens, device=spec.device, precision=spec.precision)
        measured = read_measured(inputs.measured, decided_by(asked, manifest, inputs.pool, inputs.corpus))
    else:
        told = {fact.fact_id: fact for lane in (*streams, placebo) for fact in lane}
        measured = measure_base(LaneModel(model), prober, [*told.values()], held_out, given.device)
    made = teacher(given)
    course = Course(
        spec=spec,
        teacher=made,
        prober=prober,
        measured=measured,
        streams=streams,
        placebo=placebo,
        device=given.device,
        start=hub.read_adapter(inputs.start, made.adapters) if inputs.start else None,
    )
    return Ready(course, manifest, watch, held_out)


def save(out: Path, course: Course, record: RunRecord) -> None:
    """Write the run's files, atomically; run.json comes last."""
    provenance = record.model_dump(
        include={"arm", "seeds", "base_replica", "base_fingerprint", "code_digest", "versions"}
    )
    # one metadata key only: safetensors writes several in random order, and the same run gives the same bytes
    about = {"atlas": json.dumps({"arm": record.arm, "lanes": record.seeds, "alpha": course.spec.alpha})}
    with files.together(out / "run.json") as stage:
        for name, table in (("facts", facts_table), ("matrix", matrix_table), ("sessions", sessions_table)):
            files.write_parquet(stage / f"{name}.parquet", table(course), provenance)
        adapters = to_safetensors(course.adapters.named(course.state.learner.theta.cpu()), metadata=about)
        (stage / "adapters.safetensors").write_bytes(adapters)
        files.write_json(stage / "run.json", record.model_dump(mode="json"))


if __name__ == "__main__":
    run_step(main)
