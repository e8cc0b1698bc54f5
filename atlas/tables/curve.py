"""Retention as teaching goes on: the share of all facts taught so far that are still there."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import pyarrow as pa

from atlas.tables import output
from atlas.tables.intervals import estimate
from atlas.tables.runs import Runs
from atlas.tables.schema import CURVE
from atlas.tables.scores import complete, counted, matrix_scores
from atlas.workflow.steps import run_step

METRICS = ("recall", "recognition")


def table(runs: Runs) -> pa.Table:
    """One row per arm, metric and session after which all facts taught by then were measured."""
    scores = matrix_scores(complete(runs.matrix))
    rows = []
    for metric in METRICS:
        cells = counted(scores, metric, ["arm", "session"])
        for arm, session in cells.cells:
            sample = cells.sample((arm, session))
            result = sample and estimate(sample)
            if result:
                rows.append({"arm": arm, "session": session, "metric": metric} | asdict(result))
    frame = pd.DataFrame(rows)
    frame["arm"] = pd.Categorical(frame["arm"], categories=runs.arms)
    return output.as_table(frame.sort_values(["arm", "metric", "session"]).astype({"arm": str}), CURVE)


def main() -> None:
    """Write curve.parquet for the runs given."""
    output.make("atlas.tables.curve", __doc__, table)


if __name__ == "__main__":
    run_step(main)
