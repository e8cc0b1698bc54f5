"""Capacity: recall of all facts taught so far against how many they are for each trainable parameter, arm by arm."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from atlas.tables import curve, table_step
from atlas.tables.arms import described
from atlas.tables.columns import ARMS, CAPACITY
from atlas.tables.runs import Runs


def table(runs: Runs) -> pa.Table:
    """One row per arm that trains anything, and session after which all facts taught by then were measured."""
    trained = [described(record) for arm in runs.arms if (record := runs.first(arm)).recipe.active]
    about = pd.DataFrame(trained, columns=ARMS.names).astype({"arm": str, "trainable_params": int})
    rows = curve.table(runs).to_pandas().query("metric == 'recall'").merge(about, on="arm")
    return table_step.as_table(rows.assign(facts_per_parameter=rows["n_facts"] / rows["trainable_params"]), CAPACITY)


if __name__ == "__main__":
    table_step.step("atlas.tables.capacity", __doc__, table)
