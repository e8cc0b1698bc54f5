"""What a run reads, and how it is set up from there: the certified base, pool and streams, the base's own text."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from atlas.base.checkpoint import Manifest, load_certified, read_manifest
from atlas.base.corpus import split
from atlas.base.language import LanguageModel, validation_loss
from atlas.errors import AtlasError
from atlas.pool.facts import PLACEBO, STREAM_SCHEMA, Fact, read_pool, read_stream
from atlas.study.jobs import RunSpec
from atlas.study.settings import Settings
from atlas.ttt import hub
from atlas.ttt.course import Course
from atlas.ttt.engine.text import Windows
from atlas.ttt.frozen import Watch, reinitialise
from atlas.ttt.growth import growths
from atlas.ttt.probes import Prober
from atlas.ttt.ranking import alternatives
from atlas.ttt.schema import Growth, ValLoss
from atlas.ttt.teacher import Teacher
from atlas.workflow import files
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import add_certified, environment

PACKAGES = ("torch", "numpy", "pyarrow", "safetensors")


@dataclass(frozen=True)
class Inputs:
    """The files of a run, by the options of its command line, and the threads that share its sums."""

    pool: Path
    streams: tuple[Path, ...]
    corpus: Path
    checkpoint: Path
    manifest: Path
    certificate: Path
    threads: int
    moments: Path | None = None  # of the base's keys, for editors
    start: Path | None = None  # folder of the PEFT adapter that all lanes begin with

    @classmethod
    def of(cls, args: Namespace) -> Inputs:
        """What ``add_options`` parsed."""
        return cls(**{name: getattr(args, name) for name in cls.__dataclass_fields__} | {"streams": (*args.streams,)})

    @staticmethod
    def add_options(options: ArgumentParser) -> None:
        """Add the options of all runs."""
        options.add_argument("--pool", type=Path, required=True, help="pool.parquet")
        options.add_argument("--streams", type=Path, nargs="+", required=True, help="a stream per seed, in their order")
        options.add_argument("--corpus", type=Path, required=True, help="corpus.txt, for the loss of the base")
        add_certified(options)
        options.add_argument("--moments", type=Path, help="covariance.safetensors, for editors")
        options.add_argument("--start", type=Path, help="folder of a PEFT adapter to begin with, for adapters")

    def identity(self, spec: Settings, step: str) -> str:
        """All that decides a step's numbers: settings, code, inputs, packages, and where and how it computes."""
        given = [self.moments] if self.moments else []
        given += hub.files_of(self.start) if self.start else []
        inputs = [files.sha256(path) for path in (self.pool, *self.streams, *given)]
        base, versions = read_manifest(self.manifest).fingerprint, environment(*PACKAGES)["versions"]
        where = torch.cuda.is_available(), self.threads
        return json.dumps([spec.model_dump(), code_digest(step), base, inputs, versions, where], sort_keys=True)


@dataclass(frozen=True)
class Given:
    """What a teacher is made from: the base on its device, and the facts of each lane in the order of teaching.

    ``text`` is the base's own training text, for recipes that train it, too.
    """

    spec: RunSpec
    inputs: Inputs
    model: LanguageModel
    manifest: Manifest
    streams: Sequence[Sequence[Fact]]
    text: Windows

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


@dataclass(frozen=True)
class Setting:
    """A run that is ready to begin.

    Attributes:
        watch: keeps an eye on the frozen weights.
        validation: token ids of the text that the base's loss is measured on, unsigned (tokens,).
        base_params: parameters of the base.
    """

    course: Course
    model: LanguageModel
    manifest: Manifest
    watch: Watch
    validation: np.ndarray
    base_params: int

    def base_loss(self) -> list[ValLoss]:
        """Loss on Shakespeare at each checkpoint, lane by lane, without and with the adapter: what teaching cost."""
        course, losses = self.course, []
        course.adapters.bind(None)
        base = validation_loss(self.model, self.validation)
        for point in course.state.checkpoints:
            theta = torch.from_numpy(point.theta).to(course.device)
            for lane, seed in enumerate(course.spec.seeds):
                course.adapters.bind(theta[lane : lane + 1])
                adapted = validation_loss(self.model, self.validation)
                losses.append(ValLoss(seed=seed, sessions=point.sessions, base=base, adapted=adapted))
        return losses

    def growth(self) -> list[Growth]:
        """How far the matrices have gone from the base's at each checkpoint, lane by lane."""
        course = self.course
        return [
            one
            for point in course.state.checkpoints
            for one in growths(course.adapters, torch.from_numpy(point.theta), course.spec.seeds, point.sessions)
        ]


def prepare(spec: RunSpec, inputs: Inputs, teacher: Callable[[Given], Teacher]) -> Setting:
    """Load the certified base, read pool and streams, let ``teacher`` attach what it changes.

    Raises AtlasError where the base is not certified, or pool, streams and spec do not fit.
    """
    manifest = read_manifest(inputs.manifest)
    model = load_certified(inputs.checkpoint, inputs.manifest, inputs.certificate)
    base_params = sum(parameter.numel() for parameter in model.parameters())
    watch = Watch(model, manifest.sha256, reinitialise(model, spec.reinit, spec.base_seed))
    training, validation = split(files.read_text(inputs.corpus), manifest.config.validation)
    text = Windows(partial(model.text.encode, training, str(inputs.corpus)))
    held_out = model.text.encode(validation[: spec.probes.val_chars + 1], str(inputs.corpus))
    facts = read_pool(inputs.pool)
    given = Given(spec, inputs, model.to(device_of(spec)), manifest, _streams(spec, inputs, facts), text)
    made = teacher(given)
    course = Course(
        spec=spec,
        teacher=made,
        prober=Prober(
            alternatives(facts, spec.probes.alternatives, spec.base_seed),
            str(inputs.pool),
            spec.recipe.paraphrases,
            spec.recipe.mixed,
            model.text,
        ),
        streams=given.streams,
        placebo=[fact for fact in facts if fact.role == PLACEBO],
        device=given.device,
        start=hub.read_adapter(inputs.start, made.adapters) if inputs.start else None,
    )
    return Setting(course, model, manifest, watch, held_out, base_params)


def _streams(spec: RunSpec, inputs: Inputs, facts: Sequence[Fact]) -> list[list[Fact]]:
    """The facts of each lane, in the order of teaching."""
    by_id = {fact.fact_id: fact for fact in facts}
    if len(inputs.streams) != len(spec.seeds):
        raise AtlasError(
            f"--streams: {len(inputs.streams)} files for {len(spec.seeds)} seeds; give one a seed, in their order"
        )
    return [read_lane(path, seed, spec, by_id) for path, seed in zip(inputs.streams, spec.seeds, strict=True)]


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
