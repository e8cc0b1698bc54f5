"""Capacity: recall of all facts taught so far against how many they are for each trainable parameter, arm by arm."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from atlas.tables import curve, output
from atlas.tables.arms import ranks_text
from atlas.tables.runs import Runs
from atlas.tables.schema import CAPACITY
from atlas.workflow.steps import run_step


def table(runs: Runs) -> pa.Table:
    """One row per arm that trains anything, and session after which all facts taught by then were measured."""
    rows = curve.table(runs).to_pandas().query("metric == 'recall'").merge(_trained(runs), on="arm")
    return output.as_table(rows.assign(facts_per_parameter=rows["n_facts"] / rows["trainable_params"]), CAPACITY)


def _trained(runs: Runs) -> pd.DataFrame:
    """The arms that train anything, with what they are."""
    records = [runs.of(arm)[0] for arm in runs.arms]
    columns = ["arm", "recipe", "targets", "ranks", "trainable_params"]
    rows = [
        (one.arm, one.recipe.preset, ",".join(one.targets), ranks_text(one.ranks), one.trainable_params)
        for one in records
        if one.recipe.active
    ]
    return pd.DataFrame(rows, columns=columns).astype({"arm": str, "trainable_params": int})


def main() -> None:
    """Write capacity.parquet for the runs given."""
    output.make("atlas.tables.capacity", __doc__, table)


if __name__ == "__main__":
    run_step(main)
