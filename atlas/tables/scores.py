"""From answers to scores: one number per fact and metric, then counted by seed for the estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.metrics import NET, OF_FACTS, REGISTRY
from atlas.tables.intervals import Floats, Ints, Sample
from atlas.ttt.schema import PROBES

ROUNDING = 1e-5  # nats per character
ALL = "all"  # the domain that stands for all domains together
CHANCE = {name: f"{name}_chance" for name in OF_FACTS if REGISTRY[name].level}
"""Metric to the column of ``fact_scores`` that says what an adapter that knows nothing scores; 0 for the others."""
PER_FACT = ["arm", "sessions", "probe", "domain", "seed", "fact_id"]


def fact_scores(facts: pd.DataFrame) -> pd.DataFrame:
    """Score each fact once: a fact asked by several prompts gets the mean over its prompts.

    Returns columns arm, sessions, probe, domain, seed, fact_id, one per metric, and the chance levels: to win against n
    alternatives by luck, 1 / (n + 1); to be recalled, what the base recalls without any teaching. All from 0 to 1.
    """
    declared = {name: REGISTRY[name] for name in OF_FACTS}
    flags = {name: metric.score(facts) for name, metric in declared.items() if metric.score}
    chances = {CHANCE[name]: metric.level(facts) for name, metric in declared.items() if metric.level}
    columns = facts[PER_FACT].assign(**flags, **chances)
    return columns.groupby(PER_FACT, observed=True, sort=False).mean().reset_index()


def complete(matrix: pd.DataFrame) -> pd.DataFrame:
    """The rows of matrix.parquet of sessions after which all facts taught by then were measured, not the new alone."""
    reach = matrix.groupby(["arm", "session"], observed=True)["session_taught"].transform("nunique")
    return matrix[reach == matrix["session"]]


def matrix_scores(matrix: pd.DataFrame) -> pd.DataFrame:
    """Score the rows of matrix.parquet. Returns columns arm, session, session_taught, seed, recall, recognition."""
    scores = matrix[["arm", "session", "session_taught", "seed"]].copy()
    scores["recall"] = matrix["recalled"].astype(float)
    scores["recognition"] = recognised(matrix, "nll").astype(float)
    return scores


def recognised(matrix: pd.DataFrame, column: str) -> pd.Series[bool]:
    """Whether each sentence of matrix.parquet is more predictable in ``column`` than under the base, by more than
    rounding: the two were scored in batches of other sizes, which alone moves them by some 1e-7."""
    return matrix[column] < matrix["nll_base"] - ROUNDING


@dataclass(frozen=True)
class Counted:
    """How many facts of each cell and seed have each score of one metric."""

    cells: pd.MultiIndex
    counts: Ints  # (cells, seeds, levels)
    levels: Floats  # (levels,)
    signed: bool = False  # scores are differences
    metric: str = ""  # of the scores, see ``atlas.metrics``

    def sample(self, cell: tuple[object, ...]) -> Sample | None:
        """The sample of a cell, or None where nothing was scored."""
        if cell not in self.cells:
            return None
        return Sample(self.counts[self.cells.get_loc(cell)], self.levels, self.signed, self.metric)


def counted(
    scores: pd.DataFrame, metric: str, cell: Sequence[str], column: str | None = None, signed: bool = False
) -> Counted:
    """Count the scores of a metric by cell and seed; ``cell`` names the columns that make a cell.

    The scores are in ``column`` (default: the one named as the metric). ``signed`` says that they are differences, from
    -1 to 1. Scores equal but for rounding are one level.
    """
    levels, level = np.unique(scores[column or metric].to_numpy(np.float64).round(9), return_inverse=True)
    seeds, seed = np.unique(scores["seed"].to_numpy(), return_inverse=True)
    grouped = scores.groupby(list(cell), observed=True, sort=True)
    size = len(seeds) * len(levels)
    flat = grouped.ngroup().to_numpy() * size + seed * len(levels) + level
    counts = np.bincount(flat, minlength=grouped.ngroups * size)
    cells = grouped.size().index
    index = cells if isinstance(cells, pd.MultiIndex) else pd.MultiIndex.from_arrays([cells])
    return Counted(index, counts.reshape(grouped.ngroups, len(seeds), len(levels)), levels, signed, metric)


def reading_order(rows: pd.DataFrame, first: str, values: Sequence[object]) -> pd.DataFrame:
    """Sort as people read: by column ``first`` in the order of ``values``, then sessions, study order of probes and
    metrics, and domains by size, ``all`` first."""
    taught = rows[rows["probe"] == "taught"].groupby("domain")["n_facts"].max()
    domains = list(dict.fromkeys([*taught.sort_values(ascending=False, kind="stable").index, *rows["domain"]]))
    order: dict[str, list[object]] = {
        first: list(values),
        "probe": list(PROBES),
        "metric": [*OF_FACTS, NET],
        "domain": domains,
    }
    ranks = pd.DataFrame({name: rows[name].map(places.index) for name, places in order.items()})
    ranks["sessions"] = rows["sessions"]
    return rows.loc[ranks.sort_values([first, "sessions", "probe", "metric", "domain"], kind="stable").index]
