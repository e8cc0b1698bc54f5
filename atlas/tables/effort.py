"""What teaching takes: facts and tokens that a session trains, core-seconds.

Probes are no part of it and are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from atlas.study.recipes import Phase
from atlas.tables.runs import Runs
from atlas.ttt.run_files import RunRecord


@dataclass(frozen=True)
class SessionEffort:
    """What a seed takes a session, on average over seeds and sessions."""

    session_facts: float  # in the loss of a step, each as often as it was; of an editor, facts written
    session_tokens: float  # that the loss was taken over, each as often as it was
    session_seconds: float  # core-seconds: training, and the scoring that recipes choose by


def effort(runs: Runs, arm: str) -> SessionEffort:
    """What the sessions of an arm take."""
    rows = runs.sessions[runs.sessions["arm"] == arm]
    taken = rows.drop_duplicates(["seed", "session"])
    return SessionEffort(
        session_facts=_facts(rows, runs.first(arm), runs.facts_per_session) / len(taken),
        session_tokens=float(rows["characters"].sum()) / len(taken),
        session_seconds=spent(runs, arm, int(rows["session"].max()))["core_seconds"] / taken["session"].nunique(),
    )


def spent(runs: Runs, arm: str, sessions: int) -> dict[str, float | int]:
    """Core-seconds of training, with what a recipe measures to choose by, and tokens trained, of a seed on average, up
    to so many sessions. Probes are not counted."""
    seeds = sum(len(record.seeds) for record in runs.of(arm))
    rows = runs.sessions[(runs.sessions["arm"] == arm) & (runs.sessions["session"] <= sessions)]
    seconds = 0.0
    for record in runs.of(arm):
        once = rows[rows["seed"] == record.seeds[0]].drop_duplicates("session")  # of all lanes of a run together
        seconds += float(once["seconds_train"].sum())
    return {"core_seconds": seconds / seeds, "characters": round(rows["characters"].sum() / seeds)}


def _facts(rows: pd.DataFrame, record: RunRecord, new: int) -> int:
    """Facts trained or written by all seeds in all sessions; one that is taught in several phrasings counts in each."""
    if record.edits:
        wrote = rows[rows["phase"] != "none"]
        return int((new * wrote["session"]).sum()) if record.at_once else new * len(wrote)
    items = new * (record.recipe.paraphrases + 1)
    return sum(
        facts_trained(record.recipe.active[row["phase"]], items, (row["session"] - 1) * items, row["steps"])
        for row in rows[rows["phase"] != "none"].to_dict("records")
    )


def facts_trained(phase: Phase, new: int, stored: int, steps: int) -> int:
    """Facts in the losses of so many steps of a phase, each as often as it was.

    A pass over the facts of the phase takes as many steps as they fill batches; the last one has what is left. Where
    stored ones are chosen anew, a pass begins anew with them.
    """
    facts = new if phase.new else 0
    every = steps
    if phase.rehearsal:
        facts += min(phase.rehearsal.facts, stored)
        every = phase.rehearsal.every or steps
    size = min(phase.batch or facts, facts)
    if not size:
        return 0

    def of_steps(count: int) -> int:
        passes, more = divmod(count, -(-facts // size))
        return passes * facts + more * size

    whole, rest = divmod(steps, every) if every else (0, 0)
    return whole * of_steps(every) + of_steps(rest)
