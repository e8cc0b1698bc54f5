"""What a run reads: the options of its command line, the files that they name, and what a teacher is made from."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from atlas.base.checkpoint import Manifest, read_manifest
from atlas.base.corpus import split
from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.facts import STREAM_SCHEMA, Fact, read_stream
from atlas.study.jobs import Device, Precision, RunSpec
from atlas.study.settings import Settings
from atlas.ttt import hub
from atlas.ttt.engine.products import require
from atlas.ttt.plugged import code_behind
from atlas.workflow import files, gpus
from atlas.workflow.steps import add_certified, environment

PACKAGES = ("torch", "numpy", "pyarrow", "safetensors")


@dataclass(frozen=True)
class Inputs:
    """The files of a run, by the options of its command line, and the threads that share its sums."""

    pool: Path
    streams: Sequence[Path]
    corpus: Path
    checkpoint: Path
    manifest: Path
    certificate: Path
    threads: int
    measured: Path | None = None  # what the base makes of the pool; None where a run has a base of its own
    moments: Path | None = None  # of the base's keys, for editors
    start: Path | None = None  # folder of the PEFT adapter that all lanes begin with

    @classmethod
    def of(cls, args: Namespace) -> Inputs:
        """What ``add_options`` parsed."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})

    @staticmethod
    def add_options(options: ArgumentParser) -> None:
        """Add the options of all runs."""
        options.add_argument("--pool", type=Path, required=True, help="pool.parquet")
        options.add_argument("--streams", type=Path, nargs="+", required=True, help="a stream per seed, in their order")
        options.add_argument("--corpus", type=Path, required=True, help="corpus.txt, for the loss of the base")
        add_certified(options)
        options.add_argument("--measured", type=Path, help="base-REPLICA.parquet of atlas.ttt.measure_base")
        options.add_argument("--moments", type=Path, help="covariance.safetensors, for editors")
        options.add_argument("--start", type=Path, help="folder of a PEFT adapter to begin with, for adapters")

    def identity(self, spec: Settings, step: str, method: str) -> str:
        """All that decides the numbers of a step that teaches by a method: settings, code, inputs, packages, and where
        and how it computes."""
        given = [path for path in (self.measured, self.moments) if path]
        given += hub.files_of(self.start) if self.start else []
        inputs = [files.sha256(path) for path in (self.pool, *self.streams, *given)]
        base, versions = read_manifest(self.manifest).fingerprint, environment(*PACKAGES)["versions"]
        where = torch.cuda.is_available(), self.threads
        return json.dumps([spec.model_dump(), code_behind(step, method), base, inputs, versions, where], sort_keys=True)

    def lanes(self, spec: RunSpec, facts: Sequence[Fact]) -> list[list[Fact]]:
        """The facts of each lane, in the order of teaching.

        Raises AtlasError where a stream is of another seed, pool or shape.
        """
        if len(self.streams) != len(spec.seeds):
            found, expected = plural(len(self.streams), "file"), plural(len(spec.seeds), "seed")
            raise AtlasError(f"--streams: {found} for {expected}; give one a seed, in their order")
        by_id = {fact.fact_id: fact for fact in facts}
        needed = spec.sessions * spec.facts_per_session
        lanes = []
        for path, seed in zip(self.streams, spec.seeds, strict=True):
            if strange := set(files.read_parquet(path, STREAM_SCHEMA).column("seed").to_pylist()) - {seed}:
                raise AtlasError(
                    f"{path}: stream of seed {strange.pop()}, expected seed {seed}; give the streams in seed order"
                )
            rows = read_stream(path)
            if len(rows) < needed or sum(row.session == 1 for row in rows) != spec.facts_per_session:
                raise AtlasError(
                    f"{path}: {plural(rows[-1].session, 'session')}, {plural(len(rows), 'fact')}; expected "
                    f"{plural(spec.sessions, 'session')} of {spec.facts_per_session}; remake it with atlas.pool.streams"
                )
            if strangers := [row.fact_id for row in rows if row.fact_id not in by_id]:
                raise AtlasError(f"{path}: fact {strangers[0]} is not in the pool; remake it with atlas.pool.streams")
            lanes.append([by_id[row.fact_id] for row in rows[:needed]])
        return lanes


def validation_tokens(corpus: Path, model: LanguageModel, share: float, count: int) -> np.ndarray:
    """Token ids of the text that the base's loss is measured on, unsigned (tokens,): the first ``count`` of the
    validation text, the last ``share`` of the corpus, and what they predict.

    Raises AtlasError where they are too few for one window.
    """
    _, validation = split(files.read_text(corpus), share)
    tokens = model.text.encode(validation, str(corpus))
    found = tokens[: count + 1]
    if len(found) <= (window := model.config.context):
        raise AtlasError(
            f"probes.val_tokens: {count} of the validation text in {corpus}, which has {len(tokens)}, expected at "
            f"least {window}, a window of the base; raise it, or base.validation"
        )
    return found


def computed_on(asked: Device, precision: Precision) -> torch.device:
    """Where to compute; a GPU is then taken.

    Raises AtlasError where one is asked for and there is none, or where there are no instructions for the precision.
    """
    gpu = asked != "cpu" and torch.cuda.is_available()
    if asked == "cuda" and not gpu:
        raise AtlasError("device: cuda, but torch sees no GPU here; use device: cpu or auto")
    require(precision, gpu)
    if gpu:
        cards = [str(torch.cuda.get_device_properties(card).uuid) for card in range(torch.cuda.device_count())]
        torch.cuda.set_device(gpus.take(cards))
    return torch.device("cuda" if gpu else "cpu")


@dataclass(frozen=True)
class Given:
    """What a teacher is made from: the base on its device, and the facts of each lane in the order of teaching.

    ``text`` has the token ids of the base's own training text, unsigned (tokens,), for recipes that train it, too.
    """

    spec: RunSpec
    inputs: Inputs
    model: LanguageModel
    manifest: Manifest
    streams: Sequence[Sequence[Fact]]
    text: np.ndarray | None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device
