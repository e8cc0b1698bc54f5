"""Teach one arm to one block of seeds, session by session, and measure what is left at the checkpoints."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_safetensors

from atlas import files, progress
from atlas.base.checkpoint import load_certified, read_manifest
from atlas.base.corpus import split
from atlas.base.loss import validation_loss
from atlas.base.model import Transformer
from atlas.base.text import encode
from atlas.config import RunSpec
from atlas.digest import code_digest
from atlas.errors import AtlasError
from atlas.memory import keep_freed_memory
from atlas.pool.facts import PLACEBO, STREAM_SCHEMA, Fact, read_pool, read_stream
from atlas.steps import add_spec, environment, now, parser, run_step
from atlas.ttt.course import Course
from atlas.ttt.frozen import Watch, reinitialise
from atlas.ttt.lora import Adapters
from atlas.ttt.probes import Prober
from atlas.ttt.ranking import foils
from atlas.ttt.records import facts_table, matrix_table, sessions_table
from atlas.ttt.resume import Saved
from atlas.ttt.schema import RunRecord, ValLoss
from atlas.ttt.text import Windows

PACKAGES = ("torch", "numpy", "pyarrow", "safetensors")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one arm and block by the command line; see ``python -m atlas.ttt.run --help``."""
    args = _parse(arguments)
    spec: RunSpec = args.spec
    started, clock = now(), time.perf_counter()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    manifest = read_manifest(args.manifest)
    model = load_certified(args.checkpoint, args.manifest, args.certificate)
    base_params = sum(parameter.numel() for parameter in model.parameters())
    watch = Watch(model, manifest.sha256, reinitialise(model, spec.reinit, spec.base_seed))
    training, validation = split(files.read_text(args.corpus), manifest.config.validation)
    course = prepare(spec, model, args.pool, args.streams, Windows(encode(training, str(args.corpus))))
    saved = Saved(args.out, identity(args, spec, manifest.fingerprint))
    course.run(f"ttt {spec.arm} seeds {args.out.name}", saved)

    losses = harm(course, model, encode(validation[: spec.probes.val_chars + 1], str(args.corpus)))
    record = RunRecord(
        **spec.model_dump(include={"arm", "seeds", "targets", "ranks", "recipe", "reinit"}),
        trainable_params=course.adapters.parameters,
        base_params=base_params,
        base_fingerprint=manifest.fingerprint,
        frozen=watch.close(),
        code_digest=code_digest("atlas.ttt.run"),
        val_loss=losses,
        started=started,
        finished=now(),
        seconds=course.state.seconds_before + time.perf_counter() - clock,
        resumed_after=course.state.resumed_after,
        **environment(*PACKAGES),
    )
    save(args.out, course, record)
    saved.discard()
    progress.say(f"ttt {spec.arm} seeds {args.out.name}: done, see {args.out}/")


def _parse(arguments: Sequence[str] | None) -> Namespace:
    options = parser(__doc__)
    add_spec(options, RunSpec)
    options.add_argument("--pool", type=Path, required=True, help="pool.parquet")
    options.add_argument("--streams", type=Path, nargs="+", required=True, help="a stream per seed, in their order")
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt, for the harm done to the base")
    options.add_argument("--checkpoint", type=Path, required=True, help="base.safetensors")
    options.add_argument("--manifest", type=Path, required=True, help="base.json")
    options.add_argument("--certificate", type=Path, required=True, help="certificate.json; no certificate, no run")
    options.add_argument("--threads", type=int, default=1, help="processor threads")
    options.add_argument("--out", type=Path, required=True, help="folder for the run's files")
    return options.parse_args(arguments)


def identity(args: Namespace, spec: RunSpec, fingerprint: str) -> str:
    """All that decides the numbers of a run: settings, code, inputs, packages, and the threads that share its sums."""
    inputs = [files.sha256(path) for path in (args.pool, *args.streams)]
    code, versions = code_digest("atlas.ttt.run"), environment(*PACKAGES)["versions"]
    where = str(device_of(spec)), args.threads
    return json.dumps([spec.model_dump(), code, fingerprint, inputs, versions, where], sort_keys=True)


def prepare(spec: RunSpec, model: Transformer, pool: Path, streams: Sequence[Path], text: Windows) -> Course:
    """Attach adapters to the model and set up the course. AtlasError where pool, streams and spec do not fit."""
    facts = read_pool(pool)
    by_id = {fact.fact_id: fact for fact in facts}
    if len(streams) != len(spec.seeds):
        raise AtlasError(
            f"--streams: {len(streams)} files for {len(spec.seeds)} seeds; give one a seed, in their order"
        )
    lanes = [read_lane(path, seed, spec, by_id) for path, seed in zip(streams, spec.seeds, strict=True)]
    device = device_of(spec)
    return Course(
        spec=spec,
        adapters=Adapters.attach(model.to(device), spec.targets, spec.ranks, spec.alpha),
        prober=Prober(foils(facts, spec.probes.foils, spec.base_seed), origin=str(pool)),
        streams=lanes,
        placebo=[fact for fact in facts if fact.role == PLACEBO],
        device=device,
        text=text,
    )


def device_of(spec: RunSpec) -> torch.device:
    """The device to train on. AtlasError where the study asks for a GPU that is not there."""
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise AtlasError("device: cuda, but torch sees no GPU here; use device: cpu or auto")
    return torch.device("cuda" if spec.device != "cpu" and torch.cuda.is_available() else "cpu")


def read_lane(path: Path, seed: int, spec: RunSpec, by_id: dict[str, Fact]) -> list[Fact]:
    """The facts that one seed is taught, in order. AtlasError where the stream is of another seed, pool or shape."""
    if found := set(files.read_parquet(path, STREAM_SCHEMA).column("seed").to_pylist()) - {seed}:
        raise AtlasError(f"{path}: stream of seed {found.pop()}, expected seed {seed}; give the streams in seed order")
    lessons = read_stream(path)
    needed = spec.sessions * spec.facts_per_session
    if len(lessons) < needed or sum(lesson.session == 1 for lesson in lessons) != spec.facts_per_session:
        raise AtlasError(
            f"{path}: {lessons[-1].session} sessions, {len(lessons)} facts; expected {spec.sessions} sessions of "
            f"{spec.facts_per_session}; remake it with atlas.pool.streams"
        )
    if strangers := [lesson.fact_id for lesson in lessons if lesson.fact_id not in by_id]:
        raise AtlasError(f"{path}: fact {strangers[0]} is not in the pool; remake it with atlas.pool.streams")
    return [by_id[lesson.fact_id] for lesson in lessons[:needed]]


def harm(course: Course, model: Transformer, tokens: np.ndarray) -> list[ValLoss]:
    """Loss on Shakespeare at each checkpoint, lane by lane, without and with the adapter: what teaching cost."""
    course.adapters.bind(None)
    base = validation_loss(model, tokens)
    losses = []
    for point in course.state.checkpoints:
        theta = torch.from_numpy(point.theta).to(course.device)
        for lane, seed in enumerate(course.spec.seeds):
            course.adapters.bind(theta[lane : lane + 1])
            adapted = validation_loss(model, tokens)
            losses.append(ValLoss(seed=seed, sessions=point.sessions, base=base, adapted=adapted))
    return losses


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


if __name__ == "__main__":
    run_step(main)
