"""The retention matrix in the measures of continual learning, by arm and metric, with intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.metrics import contract
from atlas.tables import measures, output
from atlas.tables.intervals import estimate
from atlas.tables.runs import Runs
from atlas.tables.schema import CONTINUAL
from atlas.tables.scores import counted, recognised
from atlas.workflow.steps import run_step

METRICS = ("recall", "recognition")
SHARES = {"average": measures.average}
DIFFERENCES = {
    "backward_transfer": measures.backward_transfer,
    "forgetting": measures.forgetting,
    "forward_transfer": measures.forward_transfer,
}


def table(runs: Runs) -> pa.Table:
    """One row per arm, metric and measure; of retention one per range of ages."""
    matrix = runs.matrix
    asked = runs.facts.query("probe == 'taught' and form == 0")[["arm", "seed", "fact_id", "recalled_base"]]
    base = asked.drop_duplicates(["arm", "seed", "fact_id"])
    rows: list[dict[str, Any]] = []
    for arm in runs.arms:
        of_arm = matrix[matrix["arm"] == arm].merge(base[base["arm"] == arm], on=["arm", "seed", "fact_id"], how="left")
        for metric in METRICS:
            rows += [_named(row, arm, metric) for row in _rows(scored(of_arm, metric))]
    return output.as_table(rows, CONTINUAL)


def _named(row: dict[str, Any], arm: str, metric: str) -> dict[str, Any]:
    """A row with its arm and metric; its contract is that of the metric and of the measure made from it."""
    return row | {"arm": arm, "metric": metric, "contract": f"{contract(metric)}; {contract(row['measure'])}"}


def scored(matrix: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of matrix.parquet of one arm, with ``recalled_base``, as ``atlas.tables.measures`` takes them.

    The base recognises nothing: a sentence is recognised where it is likelier than under the base.
    """
    scores = matrix[["seed", "session", "session_taught", "fact_id"]]
    if metric == "recall":
        columns = {"score": "recalled", "before": "recalled_before", "base": "recalled_base"}
        return scores.assign(**{name: matrix[column].astype(float) for name, column in columns.items()})
    now, before = (recognised(matrix, column) for column in ("nll", "nll_before"))
    return scores.assign(score=now.astype(float), before=before.astype(float), base=0.0)


def _rows(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for name, share in SHARES.items():
        yield from _row(name, share(scores), signed=False)
    for name, difference in DIFFERENCES.items():
        yield from _row(name, difference(scores), signed=True)
    for low, high in measures.AGES:
        ages = {"age_from": low, "age_to": high}
        yield from (row | ages for row in _row("retention", measures.retention(scores, low, high), signed=False))
    value, low_end, high_end = measures.half_life(scores)
    yield {
        "measure": "half_life",
        "unit": "sessions",
        "n_seeds": scores["seed"].nunique(),
        "value": _finite(value),
        "ci_low": _finite(low_end),
        "ci_high": _finite(high_end),
        "censored": math.isinf(value),
    }


def _row(measure: str, units: pd.DataFrame, signed: bool) -> Iterator[dict[str, Any]]:
    """The mean over seeds of a measure; nothing where the run is too short to have any unit of it."""
    if units.empty:
        return
    cells = counted(units.assign(measure=measure), measure, ["measure"], "score", signed=signed)
    sample = cells.sample((measure,))
    result = sample and estimate(sample)
    if result:
        yield {
            "measure": measure,
            "unit": "share",
            "n_seeds": result.n_seeds,
            "value": result.value,
            "ci_low": result.ci_low,
            "ci_high": result.ci_high,
            "censored": False,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def main() -> None:
    """Write continual.parquet for the runs given."""
    output.make("atlas.tables.continual", __doc__, table)


if __name__ == "__main__":
    run_step(main)
