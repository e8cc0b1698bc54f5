"""From answers to scores: one number per fact and metric, then counted by seed for the estimates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from atlas.metrics import CHOICES, NET_OF, OF_FACTS, OF_MATRIX, REGISTRY
from atlas.tables.intervals import Estimate, Floats, Ints, Sample, as_fraction, estimate
from atlas.ttt.run_files import PROBES

ALL = "all"  # the domain that stands for all domains together
CHANCE = {name: f"{name}_chance" for name in OF_FACTS}
"""Metric to the column of ``fact_scores`` that says what an adapter that knows nothing scores."""
ALTERNATIVES = "alternatives"
PER_FACT = ["arm", "sessions", "probe", "domain", "seed", "fact_id"]


def fact_scores(facts: pd.DataFrame, metrics: Sequence[str] = OF_FACTS) -> pd.DataFrame:
    """Score each fact once: a fact asked by several prompts gets the mean over its prompts.

    Returns columns arm, sessions, probe, domain, seed, fact_id, one per metric and one per chance level (see
    ``CHANCE``), all from 0 to 1, NaN where a metric leaves a fact out, and ``alternatives``, NaN where there are none.
    """
    declared = {name: REGISTRY[name] for name in metrics}
    scores = {name: metric.score(facts) for name, metric in declared.items() if metric.score}
    chances = {CHANCE[name]: metric.level(facts) for name, metric in declared.items() if name in CHANCE}
    some = facts[ALTERNATIVES].where(facts[ALTERNATIVES] > 0)
    return mean_by_fact(facts[PER_FACT].assign(**scores, **chances, alternatives=some))


def mean_by_fact(scores: pd.DataFrame) -> pd.DataFrame:
    """The mean over the prompts of each fact, for the columns beside ``PER_FACT``."""
    return scores.groupby(PER_FACT, observed=True, sort=False).mean().reset_index()


def with_all_domains(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``fact_scores`` twice: under the domain ``all``, then each under its own."""
    return pd.concat([scores.assign(domain=ALL), scores.astype({"domain": str})], ignore_index=True)


def complete(matrix: pd.DataFrame) -> pd.DataFrame:
    """The rows of matrix.parquet of sessions after which all facts taught by then were measured, not the new alone."""
    reach = matrix.groupby(["arm", "session"], observed=True)["session_taught"].transform("nunique")
    return matrix[reach == matrix["session"]]


def matrix_scores(matrix: pd.DataFrame) -> pd.DataFrame:
    """Score the rows of matrix.parquet. Returns columns arm, session, session_taught, seed, and one per metric."""
    scorers = {name: of for name in OF_MATRIX if (of := REGISTRY[name].of_matrix)}
    columns = matrix[["arm", "session", "session_taught", "seed"]]
    return columns.assign(**{name: of.after(matrix) for name, of in scorers.items()})


@dataclass(frozen=True)
class Counted:
    """How many facts of each cell and seed have each score of one metric."""

    cells: pd.MultiIndex
    counts: Ints  # (cells, seeds, levels)
    left_out: Ints  # (cells,): how many facts of all seeds have no score
    levels: Floats  # (levels,)
    seeds: tuple[int, ...]
    signed: bool = False  # scores are differences
    metric: str = ""  # of the scores, see ``atlas.metrics``

    def sample(self, cell: tuple[object, ...]) -> Sample | None:
        """The sample of a cell, or None where nothing was scored."""
        if cell not in self.cells:
            return None
        at = self.cells.get_loc(cell)
        if not self.counts[at].any():
            return None
        left_out = int(self.left_out[at])
        return Sample(self.counts[at], self.levels, self.signed, self.metric, self.seeds, left_out)

    def estimates(self, net: bool = False) -> Iterator[tuple[dict[str, Any], Estimate]]:
        """What names each cell, the metric included, and the estimate of it, in the order of the cells.

        With ``net``, cells of a metric that has one net of placebo are followed by that one.
        """
        less = NET_OF.get(self.metric) if net else None
        names = [str(name) for name in self.cells.names]
        for cell in self.cells:
            place, sample = dict(zip(names, cell, strict=True)), self.sample(cell)
            if found := sample and estimate(sample):
                yield place | {"metric": self.metric}, found
            if less and place["probe"] != "placebo":
                placebo = self.sample(tuple((place | {"probe": "placebo"}).values()))
                if found := sample and placebo and estimate(sample, minus=placebo):
                    yield place | {"metric": less}, found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each cell with the fields of its estimate, as rows of a table have them."""
        yield from (place | asdict(found) for place, found in self.estimates())


def counted(
    scores: pd.DataFrame, metric: str, cell: Sequence[str], column: str | None = None, signed: bool = False
) -> Counted:
    """Count the scores of a metric by cell and seed; ``cell`` names the columns that make a cell.

    The scores are in ``column`` (default: the one named as the metric). ``signed`` says that they are differences, from
    -1 to 1. Scores that are the same fraction are one level, whatever its arithmetic made of the last digit. A fact
    without a score (NaN) is left out of its cell, and counted.
    """
    found, at = np.unique(scores[column or metric].to_numpy(np.float64), return_inverse=True)
    scored = ~np.isnan(found)  # NaN comes last, and once
    levels, level_of = np.unique([float(as_fraction(score)) for score in found[scored]], return_inverse=True)
    level = np.append(level_of, len(levels)).astype(int)[at]  # the last one stands for no score
    seeds, seed = np.unique(scores["seed"].to_numpy(), return_inverse=True)
    grouped = scores.groupby(list(cell), observed=True, sort=True)
    shape = grouped.ngroups, len(seeds), len(levels) + 1
    flat = np.ravel_multi_index((grouped.ngroup().to_numpy(), seed, level), shape) if len(scores) else level
    counts = np.bincount(flat, minlength=math.prod(shape)).reshape(shape)
    cells = grouped.size().index
    index = cells if isinstance(cells, pd.MultiIndex) else pd.MultiIndex.from_arrays([cells])
    return Counted(index, counts[..., :-1], counts[..., -1].sum(axis=1), levels, tuple(seeds.tolist()), signed, metric)


def reading_order(rows: pd.DataFrame, first: str, values: Sequence[object]) -> pd.DataFrame:
    """Sort as people read: by column ``first`` in the order of ``values``, then sessions, study order of probes and
    metrics, and domains by size, ``all`` first."""
    taught = rows[rows["probe"] == "taught"].groupby("domain")["n_facts"].max()
    domains = list(dict.fromkeys([*taught.sort_values(ascending=False, kind="stable").index, *rows["domain"]]))
    order: dict[str, list[object]] = {
        first: list(values),
        "probe": list(PROBES),
        "metric": list(CHOICES),
        "domain": domains,
    }
    ranks = pd.DataFrame({name: rows[name].map(places.index) for name, places in order.items()})
    ranks["sessions"] = rows["sessions"]
    return rows.loc[ranks.sort_values([first, "sessions", "probe", "metric", "domain"], kind="stable").index]
