"""The speedrun: what it costs to teach facts so that they are recalled, by recipe and placement, the cheapest first."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from atlas.tables import retention, table_step
from atlas.tables.arms import described
from atlas.tables.columns import SPEEDRUN
from atlas.tables.effort import spent
from atlas.tables.runs import Runs

GOAL = 0.99  # recall of all facts taught


def table(runs: Runs) -> pa.Table:
    """One row per checkpoint and arm that trains anything; those at the goal come first, the cheapest at the head."""
    frame = retention.frame(runs)
    recall = frame[(frame["metric"] == "recall") & (frame["probe"] == "taught") & (frame["domain"] == "all")]
    rows = [
        {
            **described(runs.first(share["arm"])),
            **share[["sessions", "n_seeds", "n_facts", "ci_low", "ci_high"]],
            "recall": share["value"],
            "qualifies": share["value"] >= GOAL,
            **spent(runs, share["arm"], share["sessions"]),
            "commit": table_step.commit(),
        }
        for _, share in recall.iterrows()
        if runs.first(share["arm"]).teaches
    ]
    ordered = pd.DataFrame(rows).sort_values(
        ["n_facts", "qualifies", "core_seconds"], ascending=[False, False, True], kind="stable"
    )
    return table_step.as_table(ordered, SPEEDRUN)


if __name__ == "__main__":
    table_step.step("atlas.tables.speedrun", __doc__, table)
