"""The retention matrix: after each session, how much of what each earlier session taught is still there."""

from __future__ import annotations

import pyarrow as pa

from atlas.metrics import OF_MATRIX
from atlas.tables import table_step
from atlas.tables.columns import MATRIX
from atlas.tables.runs import Runs
from atlas.tables.scores import matrix_scores

CELL = ["arm", "session", "session_taught"]


def table(runs: Runs) -> pa.Table:
    """One row per arm, session, session taught and metric: the mean over seeds and facts."""
    scores = matrix_scores(runs.matrix)
    long = scores.melt(id_vars=CELL, value_vars=OF_MATRIX, var_name="metric")
    cells = long.groupby([*CELL, "metric"], observed=True)["value"].agg(n="size", value="mean").reset_index()
    return table_step.as_table(cells.sort_values(["arm", "metric", "session", "session_taught"]), MATRIX)


if __name__ == "__main__":
    table_step.step("atlas.tables.matrix", __doc__, table)
