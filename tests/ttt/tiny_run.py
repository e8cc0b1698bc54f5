"""A whole tiny run through the command line's main."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from atlas.base.checkpoint import save
from atlas.guard.report import Certificate
from atlas.pool.facts import STREAM_SCHEMA, pool_table
from atlas.study.base_settings import Base
from atlas.study.jobs import MeasureSpec, Probes, RunSpec
from atlas.study.recipes import Recipe
from atlas.ttt import edit, measure_base
from atlas.ttt import run as trained
from atlas.ttt.editors import covariance
from atlas.workflow import files
from tests.ttt.tiny_ttt import TINY, make_facts, make_model

FILES = {
    "pool": "pool.parquet",
    "corpus": "corpus.txt",
    "checkpoint": "base.safetensors",
    "manifest": "base.json",
    "certificate": "certificate.json",
    "measured": "base-1.parquet",
}
CORPUS = "To be, or not to be, that is the question:\n" * 400


def spec(**changes) -> RunSpec:
    values = {
        "arm": "qv",
        "seeds": [1, 2],
        "facts_per_session": 2,
        "checkpoints": [2, 4],
        "targets": ["q", "v"],
        "ranks": [4, 4],
        "alpha": 4,
        "recipe": Recipe.model_validate({}),
        "probes": Probes(val_tokens=200),
        "reinit": [],
        "base_seed": 0,
        "device": "cpu",
    }
    return RunSpec.model_validate(values | changes)


def make_inputs(folder: Path) -> Path:
    """Fill a folder with a pool of 12 taught and 4 placebo facts, streams, a corpus, and a certified tiny base."""
    facts = make_facts(12) + make_facts(4, role="placebo")
    files.write_parquet(folder / "pool.parquet", pool_table(facts), {})
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(12)[:8]
        rows = [[seed] * 8, [1, 1, 2, 2, 3, 3, 4, 4], [0, 1] * 4, [facts[i].fact_id for i in order]]
        columns = dict(zip(STREAM_SCHEMA.names, rows, strict=True))
        files.write_parquet(folder / f"{seed}.parquet", pa.table(columns, schema=STREAM_SCHEMA), {})
    files.write_text(folder / "corpus.txt", CORPUS)
    manifest = save(
        folder / "base.safetensors",
        folder / "base.json",
        make_model(),
        config=Base(model=TINY),
        val_loss=1.0,
        tokens=1,
        seconds=1,
        corpus_sha256=files.sha256(folder / "corpus.txt"),
    )
    certify(folder, passed=True, fingerprint=manifest.fingerprint)
    return make_measured(folder)


ROUNDED = "base-1-bfloat16.parquet"


def make_measured(folder: Path, out="base-1.parquet", **changes) -> Path:
    """Measure the base of the inputs of a run, once; the folder."""
    asked = MeasureSpec.model_validate({"val_tokens": 200, "device": "cpu"} | changes)
    options = [text for name, file in FILES.items() if name != "measured" for text in (f"--{name}", str(folder / file))]
    measure_base.main(["--spec", asked.model_dump_json(), *options, "--out", str(folder / out)])
    return folder


def certify(folder, **values):
    files.write_json(folder / "certificate.json", asdict(Certificate(checks=[], **values)))


def arguments(folder, out, run, start=None) -> list[str]:
    """The command line of a run; that of an editor names moments, which ``make_moments`` makes, and that of a run in
    bfloat16 what ``make_measured`` makes as ``ROUNDED``.

    ``start`` is the adapter to begin with.
    """
    streams = [str(folder / f"{seed}.parquet") for seed in run.seeds]
    inputs = FILES | ({"moments": "covariance.safetensors"} if run.editing else {})
    if run.precision == "bfloat16":
        inputs["measured"] = ROUNDED
    if run.reinit:
        del inputs["measured"]
    options = [text for name, file in inputs.items() for text in (f"--{name}", str(folder / file))]
    options += ["--start", str(start)] if start else []
    return ["--spec", run.model_dump_json(), "--streams", *streams, *options, "--out", str(out)]


def teach(folder, out, run=None, seeds=(1, 2), start=None):
    run = run or spec(seeds=list(seeds))
    step = edit if run.editing else trained
    step.main(arguments(folder, out, run, start))
    return out


def make_moments(folder):
    """Add the moments of the base's keys to the inputs of a run."""
    named = ("corpus", "checkpoint", "manifest", "certificate")
    options = [text for name in named for text in (f"--{name}", str(folder / FILES[name]))]
    covariance.main(["--spec", '{"characters": 2000}', *options, "--out", str(folder / "covariance.safetensors")])
    return folder
