"""Editors, fine-tuning and adapters side by side: the metrics of the literature on editing by the number of edits.

A fact taught counts as an edit, whatever teaches it. See ``atlas.tables.editing`` for the metrics and how ours read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.tables import editing, output
from atlas.tables.intervals import Floats, estimate, seed_interval
from atlas.tables.runs import Runs
from atlas.tables.schema import BASELINES
from atlas.tables.scores import PER_FACT, complete, counted, matrix_scores
from atlas.workflow.steps import run_step

SHARES = {"efficacy": "taught", "paraphrase": "rephrase", "specificity": "placebo"}
"""Metric to the probe that it asks, in the order of the harmonic mean."""

METRICS = (*SHARES, "edit_score", "rise", "update_size", "norm_growth", "edit_seconds")


def table(runs: Runs) -> pa.Table:
    """One row per arm, number of edits and metric: efficacy wherever all facts taught by then were measured, the other
    metrics at the checkpoints."""
    scores, matrix = fact_scores(runs.facts), matrix_scores(complete(runs.matrix))
    rows: list[dict[str, Any]] = []
    for arm in runs.arms:
        of_arm = _of_arm(runs, arm, scores[scores["arm"] == arm], matrix[matrix["arm"] == arm])
        rows += sorted(of_arm, key=lambda row: METRICS.index(row["metric"]))
    return output.as_table(pd.DataFrame(rows), BASELINES)


def fact_scores(facts: pd.DataFrame) -> pd.DataFrame:
    """Rows of facts.parquet with each fact once, its ``score`` the mean over its prompts: of facts taught recall, of
    those never taught whether they are unharmed, from 0 to 1."""
    unharmed = editing.unharmed(facts["answer_nll"], facts["answer_nll_base"])
    score = facts["recalled"].where(facts["probe"] != "placebo", unharmed).astype(float)
    columns = facts[PER_FACT].assign(score=score)
    return columns.groupby(PER_FACT, observed=True, sort=False)["score"].mean().reset_index()


def _of_arm(runs: Runs, arm: str, scores: pd.DataFrame, matrix: pd.DataFrame) -> Iterator[dict[str, Any]]:
    record = runs.of(arm)[0]
    size = runs.matrix.loc[runs.matrix["arm"] == arm].groupby(["seed", "session_taught"])["fact_id"].nunique().max()
    head = {"arm": arm, "method": record.method, "at_once": record.at_once}
    parts = (_efficacy(matrix), _shares(scores), _score(scores), _by_seed(runs, arm), _seconds(runs, arm, int(size)))
    for part in parts:
        for row in part:
            yield head | row | {"edits": row["sessions"] * int(size)}


def _efficacy(matrix: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Recall after each session after which all facts taught by then were measured."""
    cells = counted(matrix, "efficacy", ["session"], "recall")
    yield from (row | {"metric": "efficacy"} for row in _estimates(cells))


def _shares(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for metric in ("paraphrase", "specificity"):
        cells = counted(scores[scores["probe"] == SHARES[metric]], metric, ["sessions"], "score")
        yield from (row | {"metric": metric} for row in _estimates(cells))


def _estimates(cells: Any) -> Iterator[dict[str, Any]]:
    for (sessions,) in cells.cells:
        sample = cells.sample((sessions,))
        if result := sample and estimate(sample):
            names = ("n_seeds", "value", "ci_low", "ci_high")
            yield {"sessions": int(sessions), **{name: getattr(result, name) for name in names}}


def _score(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The harmonic mean of the three shares, seed by seed."""
    means = scores.groupby(["sessions", "seed", "probe"], observed=True)["score"].mean().unstack("probe")
    for sessions in sorted(set(scores["sessions"])):
        of_seeds = means.loc[sessions, list(SHARES.values())].to_numpy()
        each = np.array([editing.EditScores(*row).score for row in of_seeds])
        yield _interval("edit_score", int(sessions), each, 0.0, 1.0)


def _by_seed(runs: Runs, arm: str) -> Iterator[dict[str, Any]]:
    """What the records have a figure of for each seed and checkpoint."""
    losses = [loss for record in runs.of(arm) for loss in record.val_loss]
    grown = [one for record in runs.of(arm) for one in record.growth]
    figures = {
        "rise": [(loss.sessions, loss.adapted - loss.base) for loss in losses],
        "update_size": [(one.sessions, one.size) for one in grown],
        "norm_growth": [(one.sessions, one.growth) for one in grown],
    }
    for metric, pairs in figures.items():
        for sessions in sorted({point for point, _ in pairs}):
            yield _interval(metric, sessions, np.array([value for point, value in pairs if point == sessions]))


def _interval(
    metric: str, sessions: int, by_seed: Floats, least: float = -np.inf, most: float = np.inf
) -> dict[str, Any]:
    """The mean of one figure a seed with Student's interval, which ends where the figure's range does."""
    low, high = seed_interval(by_seed)
    row = {"metric": metric, "sessions": sessions, "n_seeds": len(by_seed), "value": float(by_seed.mean())}
    return row | {"ci_low": max(low, least), "ci_high": min(high, most)}


def _seconds(runs: Runs, arm: str, size: int) -> Iterator[dict[str, Any]]:
    """Core-seconds of teaching a fact at the checkpoints, all seeds together."""
    records, sessions = runs.of(arm), runs.sessions[runs.sessions["arm"] == arm]
    seeds = sum(len(record.seeds) for record in records)
    for point in sorted({loss.sessions for record in records for loss in record.val_loss}):
        spent = 0.0
        for record in records:
            once = sessions[sessions["seed"] == record.seeds[0]].drop_duplicates("session")  # of all lanes together
            counts = once["session"] == point if record.at_once else once["session"] <= point
            spent += record.threads * float(once.loc[counts, "seconds_train"].sum())
        yield {"metric": "edit_seconds", "sessions": point, "n_seeds": seeds, "value": spent / (seeds * point * size)}


def main() -> None:
    """Write baselines.parquet for the runs given."""
    output.make("atlas.tables.baselines", __doc__, table)


if __name__ == "__main__":
    run_step(main)
