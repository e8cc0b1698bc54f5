"""Retention as teaching goes on: the share of all facts taught so far that are still there."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from atlas.metrics import OF_MATRIX
from atlas.tables import table_step
from atlas.tables.columns import CURVE
from atlas.tables.runs import Runs
from atlas.tables.scores import complete, counted, matrix_scores


def table(runs: Runs) -> pa.Table:
    """One row per arm, metric and session after which all facts taught by then were measured."""
    scores = matrix_scores(complete(runs.matrix))
    rows = pd.DataFrame([row for metric in OF_MATRIX for row in counted(scores, metric, ["arm", "session"]).rows()])
    rows["arm"] = pd.Categorical(rows["arm"], categories=runs.arms)
    return table_step.as_table(rows.sort_values(["arm", "metric", "session"]).astype({"arm": str}), CURVE)


if __name__ == "__main__":
    table_step.step("atlas.tables.curve", __doc__, table)
