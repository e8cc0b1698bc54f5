"""A finished course as its tables and records, in the schemas of ``atlas.ttt.run_files``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from atlas.base.language import validation_loss
from atlas.ttt.course import Course
from atlas.ttt.edit_outcomes import failed_edits
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.probes import END
from atlas.ttt.run_files import FACTS, MATRIX, SESSIONS, Growth, ValLoss

Columns = dict[str, Any]
"""The columns of some rows; a scalar fills its column."""


def facts_table(course: Course) -> pa.Table:
    """Every probe at every checkpoint, one checkpoint after the other, lane by lane."""
    parts: list[Columns] = []
    asked = [course.probes(point.sessions) for point in course.state.checkpoints]
    taught = [course.taught_in(lane) for lane in range(len(course.spec.seeds))]
    for (point, lanes), (lane, seed) in product(
        zip(course.state.checkpoints, asked, strict=True), enumerate(course.spec.seeds)
    ):
        probes, taught_in = lanes[lane], taught[lane]
        adapted = point.probed.scores.lines(slice(len(probes)))
        others = [len(probe.alternatives) for probe in probes]
        base = course.measured.scores.at(course.measured.of([probes])[0])
        parts.append(
            {
                "arm": course.spec.arm,
                "seed": seed,
                "base_replica": course.spec.base_replica,
                "sessions": point.sessions,
                "probe": [probe.kind for probe in probes],
                "fact_id": [probe.fact.fact_id for probe in probes],
                "form": [probe.form for probe in probes],
                "domain": [probe.fact.domain for probe in probes],
                "session_taught": [taught_in.get(probe.fact.fact_id) for probe in probes],
                "nll_base": base.nll,
                "nll": adapted.nll[lane],
                "answer_nll_base": base.answer_nll,
                "answer_nll": adapted.answer_nll[lane],
                "recognised": adapted.nll[lane] < base.nll,
                "recalled": adapted.recalled[lane],
                "associated": [
                    won if n else None
                    for won, n in zip(point.probed.associated[lane, : len(probes)], others, strict=True)
                ],
                "alternatives": others,
                "decoded": [
                    course.prober.text.decode(tokens[tokens != END]).partition("\n")[0]
                    for tokens in point.probed.decoded[lane, : len(probes)]
                ],
                "recalled_base": base.recalled,
                "answered": adapted.answered[lane],
                "answered_base": base.answered,
                "contradicts": [course.measured.contradicted(probe.fact) for probe in probes],
            }
        )
    return _joined(FACTS, parts)


def matrix_table(course: Course) -> pa.Table:
    """The taught facts that were measured after each session, lane after lane."""
    parts: list[Columns] = []
    before = course.just_before
    every = [course.taught_in(lane) for lane in range(len(course.spec.seeds))]
    for (lane, seed), taught in product(enumerate(course.spec.seeds), course.state.sessions):
        fact_ids, taught_in = [course.streams[lane][i].fact_id for i in taught.columns], every[lane]
        parts.append(
            {
                "arm": course.spec.arm,
                "seed": seed,
                "base_replica": course.spec.base_replica,
                "session": taught.session,
                "fact_id": fact_ids,
                "session_taught": [taught_in[fact_id] for fact_id in fact_ids],
                "nll_base": course.base.nll[lane, taught.columns],
                "nll": taught.scores.nll[lane],
                "recalled": taught.scores.recalled[lane],
                "nll_before": before.nll[lane, taught.columns],
                "recalled_before": before.recalled[lane, taught.columns],
            }
        )
    return _joined(MATRIX, parts)


def sessions_table(course: Course) -> pa.Table:
    """How every session went, phase by phase, lane after lane."""
    parts: list[Columns] = []
    sessions = [*zip(course.state.sessions, failed_edits(course), strict=True)]
    for (lane, seed), (taught, failed) in product(enumerate(course.spec.seeds), sessions):
        phases = course.teacher.phases if taught.traces else {}
        losses = [found[found.isfinite()].tolist() for found in (trace.losses[:, lane] for trace in taught.traces)]
        parts.append(
            {
                "arm": course.spec.arm,
                "seed": seed,
                "base_replica": course.spec.base_replica,
                "session": taught.session,
                "phase": [*phases] or ["none"],
                "steps": [int(trace.steps[lane]) for trace in taught.traces] or [0],
                "characters": [int(trace.tokens[lane]) for trace in taught.traces] or [0],
                "loss_first": [some[0] if some else None for some in losses] or [None],
                "loss_last": [some[-1] if some else None for some in losses] or [None],
                "lr": [*phases.values()] or [None],
                "adapter_norm": taught.norms[lane],
                "seconds_train": taught.seconds_train,
                "seconds_score": taught.seconds_score,
                **{name: None if counts is None else counts[lane] for name, counts in failed.items()},
            }
        )
    return _joined(SESSIONS, parts)


def _joined(schema: pa.Schema, parts: Sequence[Columns]) -> pa.Table:
    """One table of columns, part after part."""
    tables = []
    for part in parts:
        rows = max(len(values) for values in part.values() if isinstance(values, list | np.ndarray))
        columns = [
            part[name] if isinstance(part[name], list | np.ndarray) else [part[name]] * rows for name in schema.names
        ]
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
        tables.append(pa.Table.from_arrays(arrays, schema=schema))
    return pa.concat_tables(tables)


def base_losses(course: Course, validation: np.ndarray) -> list[ValLoss]:
    """Loss on the base's validation text, unsigned (tokens,), without and with what was taught, at each checkpoint and
    lane by lane: what teaching cost the base. Lanes that are the base have its loss."""
    taught, losses, base = course.adapters, [], course.measured.val_loss
    for point in course.state.checkpoints:
        theta = torch.from_numpy(point.theta).to(course.device)
        for lane, seed in enumerate(course.spec.seeds):
            adapted = base
            if not course.is_base:
                taught.bind(theta[lane : lane + 1])
                adapted = validation_loss(taught.model, validation)
            losses.append(ValLoss(seed=seed, sessions=point.sessions, base=base, adapted=adapted))
    return losses


def growths(course: Course) -> list[Growth]:
    """How far the matrices that are taught have gone from the base's at each checkpoint, lane by lane."""
    return [
        one
        for point in course.state.checkpoints
        for one in growths_at(course.adapters, torch.from_numpy(point.theta), course.spec.seeds, point.sessions)
    ]


def growths_at(taught: LaneModel, theta: Tensor, seeds: Sequence[int], sessions: int) -> list[Growth]:
    """Of each lane, all of its matrices taken together as one. ``theta`` is (lanes, parameters)."""
    base = torch.cat([slot.module.base.weight.T.flatten() for slot in taught.slots])
    update = torch.cat([part.flatten(1) for part in taught.updates(theta)], dim=1)  # (lanes, weights)
    matrix, updates = (part.double().cpu().numpy()[..., None, :] for part in (base, update))
    sizes, growth = update_size(matrix, updates), norm_growth(matrix, updates)
    return [
        Growth(seed=seed, sessions=sessions, size=float(size), growth=float(more))
        for seed, size, more in zip(seeds, sizes, growth, strict=True)
    ]


def update_size(base: np.ndarray, update: np.ndarray) -> np.ndarray:
    """How large an update is beside the weights, ``|update| / |base|`` in Frobenius norms.

    Gupta et al. 2024 (arXiv 2403.07175) follow it from edit to edit: a single one that is much larger disables a model.

    Args:
        base: the matrix, (a, b).
        update: what was added to it, (..., a, b).
    """
    return np.asarray(np.linalg.norm(update, axis=(-2, -1)) / np.linalg.norm(base))


def norm_growth(base: np.ndarray, update: np.ndarray) -> np.ndarray:
    """By what share the matrix has grown, ``|base + update| / |base| - 1``, arguments as of ``update_size``."""
    return np.asarray(np.linalg.norm(base + update, axis=(-2, -1)) / np.linalg.norm(base) - 1)
