"""What teaching cost the base: the rise of its loss on the validation text."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from atlas.tables import table_step
from atlas.tables.columns import BASE_LOSS
from atlas.tables.intervals import seed_interval
from atlas.tables.runs import Runs
from atlas.workflow.steps import run_step


def table(runs: Runs) -> pa.Table:
    """One row per arm and checkpoint: means over seeds, interval of the rise over seeds."""
    rows = []
    for arm in runs.arms:
        losses = pd.DataFrame([loss.model_dump() for record in runs.of(arm) for loss in record.val_loss])
        for sessions, group in losses.sort_values(["sessions", "seed"]).groupby("sessions"):
            rise = (group["adapted"] - group["base"]).to_numpy()
            low, high = seed_interval(rise)
            rows.append(
                {
                    "arm": arm,
                    "sessions": sessions,
                    "n_seeds": len(group),
                    "val_loss_base": group["base"].mean(),
                    "val_loss": group["adapted"].mean(),
                    "rise": rise.mean(),
                    "ci_low": low,
                    "ci_high": high,
                }
            )
    return table_step.as_table(rows, BASE_LOSS)


def main() -> None:
    """Write base_loss.parquet for the runs given."""
    table_step.make("atlas.tables.base_loss", __doc__, table)


if __name__ == "__main__":
    run_step(main)
