"""A finished course as tables, in the schemas of ``atlas.ttt.schema``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.ttt.course import Checkpoint, Course, Taught
from atlas.ttt.engine.scoring import Scores
from atlas.ttt.schema import FACTS, MATRIX, SESSIONS


def facts_table(course: Course) -> pa.Table:
    """Every probe at every checkpoint, lane after lane."""
    return _joined(
        FACTS, (_facts(course, point, lane) for point in course.state.checkpoints for lane in _lanes(course))
    )


def matrix_table(course: Course) -> pa.Table:
    """The taught facts that were measured after each session, lane after lane."""
    before = course.before
    parts = (_matrix(course, before, taught, lane) for lane in _lanes(course) for taught in course.state.sessions)
    return _joined(MATRIX, parts)


def sessions_table(course: Course) -> pa.Table:
    """How every session went, lane after lane."""
    return _joined(
        SESSIONS, (_session(course, taught, lane) for lane in _lanes(course) for taught in course.state.sessions)
    )


def _lanes(course: Course) -> range:
    return range(len(course.spec.seeds))


def _joined(schema: pa.Schema, parts: Iterator[dict[str, Any]]) -> pa.Table:
    """One table of column dicts; a scalar fills its column."""
    tables = []
    for part in parts:
        rows = max(len(values) for values in part.values() if isinstance(values, list | np.ndarray))
        columns = [
            part[name] if isinstance(part[name], list | np.ndarray) else [part[name]] * rows for name in schema.names
        ]
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
        tables.append(pa.Table.from_arrays(arrays, schema=schema))
    return pa.concat_tables(tables)


def _facts(course: Course, point: Checkpoint, lane: int) -> dict[str, Any]:
    probes, found = course.probes(point.sessions)[lane], point.measured
    return {
        "arm": course.spec.arm,
        "seed": course.spec.seeds[lane],
        "sessions": point.sessions,
        "probe": [probe.kind for probe in probes],
        "fact_id": [probe.dated.fact.fact_id for probe in probes],
        "form": [probe.form for probe in probes],
        "domain": [probe.dated.fact.domain for probe in probes],
        "session_taught": [probe.dated.session for probe in probes],
        "nll_base": found.base.nll[lane],
        "nll": found.adapted.nll[lane],
        "answer_nll_base": found.base.answer_nll[lane],
        "answer_nll": found.adapted.answer_nll[lane],
        "recognised": found.adapted.nll[lane] < found.base.nll[lane],
        "ranked": found.ranked[lane],
        "recalled": found.adapted.recalled[lane],
        "alternatives": [probe.alternatives for probe in probes],
        "recalled_base": found.base.recalled[lane],
        "answered": found.adapted.answered[lane],
        "answered_base": found.base.answered[lane],
        "contradicts": [probe.dated.fact.true_answer is not None for probe in probes],
    }


def _matrix(course: Course, before: Scores, taught: Taught, lane: int) -> dict[str, Any]:
    facts = course.dated(course.streams[lane])
    dated = [facts[i] for i in taught.columns]
    return {
        "arm": course.spec.arm,
        "seed": course.spec.seeds[lane],
        "session": taught.session,
        "fact_id": [one.fact.fact_id for one in dated],
        "session_taught": [one.session for one in dated],
        "nll_base": course.base.nll[lane, taught.columns],
        "nll": taught.scores.nll[lane],
        "recalled": taught.scores.recalled[lane],
        "nll_before": before.nll[lane, taught.columns],
        "recalled_before": before.recalled[lane, taught.columns],
    }


def _session(course: Course, taught: Taught, lane: int) -> dict[str, Any]:
    phases = course.teacher.phases if taught.traces else {}
    losses = [trace.of(lane) for trace in taught.traces]
    return {
        "arm": course.spec.arm,
        "seed": course.spec.seeds[lane],
        "session": taught.session,
        "phase": [*phases] or ["none"],
        "steps": [trace.steps[lane] for trace in taught.traces] or [0],
        "characters": [trace.characters[lane] for trace in taught.traces] or [0],
        "loss_first": [some[0] for some in losses] or [None],
        "loss_last": [some[-1] for some in losses] or [None],
        "lr": [*phases.values()] or [None],
        "adapter_norm": taught.norms[lane],
        "seconds_train": taught.seconds_train,
        "seconds_score": taught.seconds_score,
    }
