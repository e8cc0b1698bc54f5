"""The retention matrix in the measures of continual learning, by arm and metric, with intervals over seeds.

In the matrix R, R[t, j] is the score, after session t, of what session j taught; T is the last session. Every measure
takes scores of one arm with the columns seed, session, session_taught, fact_id, ``score`` (after the session, 0 or 1),
``before`` (just before the fact was taught) and ``base`` (under the base without adapter), and returns one row per seed
and unit with what the measure is the mean of, in ``score``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy

from atlas.draws import rng
from atlas.metrics import OF_MATRIX, contract, metric
from atlas.plugins.metric import OfMatrix
from atlas.tables import table_step
from atlas.tables.columns import CONTINUAL
from atlas.tables.intervals import CONFIDENCE, Floats
from atlas.tables.runs import Runs
from atlas.tables.scores import counted

DRAWS = 400
AGES = ((0, 0), (1, 4), (5, 9), (10, 29), (30, 99), (100, None))  # sessions since a fact was taught, from and to
FACT = ["seed", "fact_id"]
TASK = ["seed", "session_taught"]
DIFFERENCES = ("backward_transfer", "forgetting", "forward_transfer")


def table(runs: Runs) -> pa.Table:
    """One row per arm, metric and measure; of retention one per range of ages."""
    asked = runs.facts.query("probe == 'taught' and form == 0")[["arm", *FACT, "recalled_base"]]
    matrix = runs.matrix.merge(asked.drop_duplicates(["arm", *FACT]), on=["arm", *FACT], how="left")
    rows = [
        # the contract is that of the metric and of the measure made from it
        row | {"arm": arm, "metric": name, "contract": f"{contract(name)}; {contract(row['measure'])}"}
        for arm in runs.arms
        for name in OF_MATRIX
        if (scorers := metric(name).of_matrix)
        for row in _rows(scored(matrix[matrix["arm"] == arm], scorers))
    ]
    return table_step.as_table(rows, CONTINUAL)


def scored(matrix: pd.DataFrame, scorers: OfMatrix) -> pd.DataFrame:
    """Rows of matrix.parquet of one arm, with ``recalled_base``, as the measures take them."""
    return matrix[["seed", "session", "session_taught", "fact_id"]].assign(
        score=scorers.after(matrix), before=scorers.before(matrix), base=scorers.base(matrix)
    )


def _rows(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    yield from _row("average", average(scores))
    yield from _row("backward_transfer", backward_transfer(scores))
    yield from _row("forgetting", forgetting(scores))
    yield from _row("forward_transfer", forward_transfer(scores))
    for low, high in AGES:
        yield from (row | {"age_from": low, "age_to": high} for row in _row("retention", retention(scores, low, high)))
    value, low_end, high_end = half_life(scores)
    yield {
        "measure": "half_life",
        "unit": "sessions",
        "n_seeds": scores["seed"].nunique(),
        "value": _finite(value),
        "ci_low": _finite(low_end),
        "ci_high": _finite(high_end),
        "censored": math.isinf(value),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _row(measure: str, units: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The mean over seeds of a measure; nothing where the run is too short to have any unit of it."""
    if not units.empty:
        cells = counted(units.assign(measure=measure), measure, ["measure"], "score", signed=measure in DIFFERENCES)
        yield from (row | {"unit": "share", "censored": False} for row in cells.rows())


def average(scores: pd.DataFrame) -> pd.DataFrame:
    """Average accuracy: mean over j of R[T, j], by fact (Lopez-Paz and Ranzato, Gradient Episodic Memory, 2017)."""
    result: pd.DataFrame = _last(scores)[[*FACT, "score"]]
    return result


def backward_transfer(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over j < T of R[T, j] - R[j, j], by fact: below 0 where later sessions undo it (Lopez-Paz and Ranzato)."""
    earlier = scores[scores["session_taught"] < scores["session"].max()]
    learned = earlier[earlier["session"] == earlier["session_taught"]].set_index(FACT)["score"]
    change: pd.Series = _last(earlier).set_index(FACT)["score"] - learned
    return change.dropna().reset_index()  # not of facts that were not measured when just taught


def forgetting(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over j < T of max over t < T of R[t, j], less R[T, j], by session: above 0 where what was once there is
    lost (Chaudhry et al., Riemannian Walk for Incremental Learning, 2018)."""
    earlier = scores[scores["session_taught"] < scores["session"].max()]
    by_task = earlier.groupby([*TASK, "session"])["score"].mean().reset_index()
    last = by_task["session"] == by_task["session"].max()
    best = by_task[~last].groupby(TASK)["score"].max()
    loss: pd.Series = best - by_task[last].set_index(TASK)["score"]
    return loss.dropna().reset_index()  # not of sessions that were measured at the end alone


def forward_transfer(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over j > 1 of R[j - 1, j] - b[j], by fact, where b is the base's score: above 0 where teaching other facts
    helped before this one was taught (Lopez-Paz and Ranzato)."""
    later = scores[(scores["session_taught"] > 1) & (scores["session"] == scores["session_taught"])]
    gain = later[FACT].assign(score=later["before"] - later["base"])
    return gain.dropna()  # not of facts that were not measured before


def retention(scores: pd.DataFrame, low: int, high: int | None) -> pd.DataFrame:
    """Score at the ages from ``low`` to ``high``, by fact: the mean over the sessions when it had such an age."""
    age = scores["session"] - scores["session_taught"]
    within = scores[(age >= low) & (age <= (age.max() if high is None else high))]
    return within.groupby(FACT)["score"].mean().reset_index()


def half_life(scores: pd.DataFrame) -> tuple[float, float, float]:
    """Sessions until retention has fallen to half of what it is at age 0, with its interval; infinite where it has not
    within the run (the figure is censored), NaN where nothing was there to be lost.

    Retention by age, over all seeds, is first made to fall (isotonic regression, weighted by facts), so that the
    chances of a single age do not decide. The interval is the percentile interval of draws of seeds, NaN for one seed;
    of few seeds it is on the short side.
    """
    age = scores["session"] - scores["session_taught"]
    tests = scores.assign(age=age).groupby(["seed", "age"])["score"].agg(["sum", "size"]).unstack(fill_value=0)
    right, asked = (tests[name].to_numpy(float) for name in ("sum", "size"))  # (seeds, ages)
    value = _half(right.sum(axis=0), asked.sum(axis=0))
    if (seeds := len(right)) < 2:
        return value, float("nan"), float("nan")
    weights = rng("half-life", seeds).multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    different, times = np.unique(weights, axis=0, return_counts=True)
    halves = [_half(weight @ right, weight @ asked) for weight in different]
    drawn = np.repeat(halves, times)
    if np.isnan(drawn).any():
        return value, float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], method="nearest")
    return value, float(low), float(high)


def _half(right: Floats, asked: Floats) -> float:
    falling = scipy.optimize.isotonic_regression(right / asked, weights=asked, increasing=False).x
    if falling[0] == 0:
        return float("nan")
    fallen = np.flatnonzero(falling <= falling[0] / 2)
    return float(fallen[0]) if len(fallen) else float("inf")


def _last(scores: pd.DataFrame) -> pd.DataFrame:
    result: pd.DataFrame = scores[scores["session"] == scores["session"].max()]
    return result


if __name__ == "__main__":
    table_step.step("atlas.tables.continual", __doc__, table)
