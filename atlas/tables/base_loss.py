"""What teaching cost the base: the rise of its loss on the validation text."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from atlas.tables import table_step
from atlas.tables.columns import BASE_LOSS
from atlas.tables.intervals import seed_interval
from atlas.tables.runs import Runs


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


if __name__ == "__main__":
    table_step.step("atlas.tables.base_loss", __doc__, table)
