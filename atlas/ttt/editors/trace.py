"""Locate by causal tracing where the base keeps what it knows, and write the effects as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from scipy import stats

from atlas.base.language import LanguageModel
from atlas.draws import rng
from atlas.study.jobs import Tracing
from atlas.ttt.ask_base import known_facts
from atlas.ttt.editors.base import Measured
from atlas.ttt.editors.known import associations, known_cases
from atlas.ttt.editors.schema import KINDS, POSITIONS, TRACE
from atlas.ttt.editors.tracing import Case, Traced, Tracer, fact_case
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, environment, parser, run_step


class TraceSpec(Tracing):
    """What decides the table besides the base, and its corpus or the facts that it knows."""

    seed: int = Field(0, description="draws noises and the places of pairs")
    times: int = Field(20, gt=0, description="times that the corpus has a pair of words, at least")
    share: float = Field(0.5, gt=0, le=1, description="of the words behind the first one with the same first letter")
    elsewhere: float = Field(0.2, gt=0, le=1, description="most that the second word is of all with its first letter")
    probability: float = Field(0.3, ge=0, lt=1, description="of the answer, for the base to know it")
    context: int = Field(40, ge=0, description="characters before a pair")
    noise: float = Field(3.0, gt=0, description="standard deviations of the embeddings of the subjects' characters")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trace by the command line; see ``python -m atlas.ttt.editors.trace --help``."""
    options = parser(__doc__)
    add_spec(options, TraceSpec)
    Measured.add_options(options, "trace.parquet")
    options.add_argument("--known", type=Path, help="ttt/pool.parquet, for facts that the base knows; else the corpus")
    args = options.parse_args(arguments)
    spec: TraceSpec = args.spec
    base = Measured.of(args)
    cases = (_of_pool(base, args.known, spec) if args.known else _of_corpus(base, spec))[: spec.cases]
    provenance = {
        "step": "atlas.ttt.editors.trace",
        "spec": spec.model_dump(),
        "base_fingerprint": base.manifest.fingerprint,
        "cases": [case.name for case in cases],
        **environment("torch", "numpy"),
    }
    files.write_parquet(args.out, trace_table(trace_all(base.model, cases, spec)), provenance)
    progress.say(f"trace: {len(cases)} cases, see {args.out}")


def _of_corpus(base: Measured, spec: TraceSpec) -> list[Case]:
    """What the base knows of its corpus, the most frequent first."""
    pairs = associations(base.training, spec.times, spec.share, spec.elsewhere)
    context = min(spec.context, base.model.config.context // 2)
    cases = list(known_cases(base.model, base.training, pairs, context, spec.probability, spec.seed))
    progress.say(f"trace: the base knows {len(cases)} of {len(pairs)} associations of its corpus")
    return cases


def _of_pool(base: Measured, path: Path, spec: TraceSpec) -> list[Case]:
    """The facts of a pool that the base knows and whose subject the pool names, in drawn order."""
    facts = [fact for fact in known_facts(path) if fact.subject is not None]
    order = rng(spec.seed, "trace", "facts").permutation(len(facts))
    progress.say(f"trace: the base knows {len(facts)} facts of the pool")
    return [fact_case(facts[at], str(path), base.model.text) for at in order]


def trace_all(model: LanguageModel, cases: Sequence[Case], spec: TraceSpec) -> list[Traced]:
    """Trace cases; the noise is in units of the spread of the embeddings of all their subjects."""
    if not cases:
        return []
    subjects = np.concatenate([case.line.tokens[case.first : case.last + 1] for case in cases])
    embeddings = model.embedding(torch.from_numpy(subjects.astype(np.int64)))
    tracer = Tracer(model, spec.samples, spec.noise * float(embeddings.std()), spec.window or 1, spec.seed)
    traced = []
    with progress.tracker("trace", len(cases)) as tracker:
        for case in cases:
            traced.append(tracer.trace(case))
            tracker.advance()
    return traced


def trace_table(traced: Sequence[Traced]) -> pa.Table:
    """The table of ``schema.TRACE``: means over cases with Student's 95% intervals; no rows without cases."""
    rows = []
    layers = traced[0].effects.shape[1] if traced else 0
    for k, kind in enumerate(KINDS):
        for layer in range(layers):
            for p, position in enumerate(POSITIONS):
                having = [one for one in traced if not np.isnan(one.effects[k, layer, p])]
                if having:
                    effects = np.array([one.effects[k, layer, p] for one in having])
                    rows.append(
                        {"kind": kind, "layer": layer, "position": position, **_mean(effects), "n": len(having)}
                        | {"probability": float(np.mean([one.clean for one in having]))}
                        | {"corrupted": float(np.mean([one.corrupted for one in having]))}
                    )
    return pa.Table.from_pylist(rows, schema=TRACE)


def _mean(values: np.ndarray) -> dict[str, float | None]:
    """The mean and Student's 95% interval of it."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"effect": mean, "ci_low": None, "ci_high": None}
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return {"effect": mean, "ci_low": mean - half, "ci_high": mean + half}


if __name__ == "__main__":
    run_step(main)
