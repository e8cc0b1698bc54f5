"""From answers to scores: one number per fact and metric, then counted by seed for the estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.tables.bootstrap import Floats, Ints, Sample

METRICS = {"recall": "recalled", "ranked": "ranked", "recognition": "recognised"}
"""Metric to the column of facts.parquet that scores it."""

NET = "recognition_net"  # recognition minus the placebo recognition of the same seed and domain
ALL = "all"  # the domain that stands for all domains together
PER_FACT = ["arm", "sessions", "probe", "domain", "seed", "fact_id"]


def fact_scores(facts: pd.DataFrame) -> pd.DataFrame:
    """Score each fact once: a fact asked in several forms gets the mean over its forms.

    Returns columns arm, sessions, probe, domain, seed, fact_id and one per metric, from 0 to 1.
    """
    columns = facts[[*PER_FACT, *METRICS.values()]]
    means = columns.groupby(PER_FACT, observed=True, sort=False)[list(METRICS.values())].mean()
    return means.rename(columns={column: metric for metric, column in METRICS.items()}).reset_index()


def matrix_scores(matrix: pd.DataFrame) -> pd.DataFrame:
    """Score the rows of matrix.parquet. Returns columns arm, session, session_taught, seed, recall, recognition."""
    scores = matrix[["arm", "session", "session_taught", "seed"]].copy()
    scores["recall"] = matrix["recalled"].astype(float)
    scores["recognition"] = (matrix["nll"] < matrix["nll_base"]).astype(float)
    return scores


@dataclass(frozen=True)
class Counted:
    """How many facts of each cell and seed have each score of one metric."""

    cells: pd.MultiIndex
    counts: Ints  # (cells, seeds, levels)
    levels: Floats  # (levels,)

    def sample(self, cell: tuple[object, ...]) -> Sample | None:
        """The sample of a cell, or None where nothing was scored."""
        if cell not in self.cells:
            return None
        return Sample(self.counts[self.cells.get_loc(cell)], self.levels)


def counted(scores: pd.DataFrame, metric: str, cell: Sequence[str]) -> Counted:
    """Count the scores of a metric by cell and seed; ``cell`` names the columns that make a cell."""
    levels, level = np.unique(scores[metric].to_numpy(np.float64), return_inverse=True)
    seeds, seed = np.unique(scores["seed"].to_numpy(), return_inverse=True)
    grouped = scores.groupby(list(cell), observed=True, sort=True)
    size = len(seeds) * len(levels)
    flat = grouped.ngroup().to_numpy() * size + seed * len(levels) + level
    counts = np.bincount(flat, minlength=grouped.ngroups * size)
    cells = grouped.size().index
    index = cells if isinstance(cells, pd.MultiIndex) else pd.MultiIndex.from_arrays([cells])
    return Counted(index, counts.reshape(grouped.ngroups, len(seeds), len(levels)), levels)
