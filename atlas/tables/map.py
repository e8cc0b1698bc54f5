"""The map: what each place of the adapters keeps at each budget of parameters, and what it costs the base."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.errors import AtlasError
from atlas.study.place_map import MapCell
from atlas.study.settings import Settings
from atlas.study.tuning import rate_of
from atlas.tables import base_loss, retention, table_step
from atlas.tables.columns import MAP
from atlas.tables.runs import Runs
from atlas.tables.scores import ALL

RECALL = "recall"
MEASURES = ((RECALL, "taught"), (RECALL, "rephrase"), ("association", "taught"), ("rise", None))
"""Metrics with their probes, in the order of the rows; the rise in base loss has none."""
KEY = ("sessions", "metric", "probe")


class Places(Settings):
    """The part of the study that its map is made from, beside the runs."""

    cells: list[MapCell]


def table(runs: Runs, places: Places) -> pa.Table:
    """One row per place, budget, checkpoint and measure, in the order of the study; without figures where no rank of
    the place comes near the budget. AtlasError where the arm of a place has no run."""
    figures = _figures(runs)
    asked = pd.DataFrame([_about(runs, cell) for cell in places.cells])
    points, measures = figures[["sessions"]].drop_duplicates(), pd.DataFrame(MEASURES, columns=["metric", "probe"])
    there = points.sort_values("sessions").merge(measures, how="cross").merge(figures[[*KEY]].drop_duplicates())
    rows = asked.merge(there, how="cross").merge(figures, on=["arm", *KEY], how="left")
    recalled = rows["value"].where(rows["metric"] == RECALL)
    return table_step.as_table(rows.assign(per_thousand=1000 * recalled / rows["trainable_params"]), MAP)


def _figures(runs: Runs) -> pd.DataFrame:
    """All measures of all arms at all checkpoints, over all domains."""
    shares = retention.frame(runs)
    kept = shares[shares["domain"] == ALL].astype({"arm": str, "probe": str})
    rises = base_loss.table(runs).to_pandas().rename(columns={"rise": "value"})
    figures: pd.DataFrame = pd.concat([kept, rises.assign(metric="rise", probe=None)], ignore_index=True)
    return figures


def _about(runs: Runs, cell: MapCell) -> dict[str, Any]:
    """What a place is at a budget, and what its arm made of that."""
    if cell.rank and cell.arm not in runs.arms:
        raise AtlasError(f"--runs: none of {cell.arm}, which the map has; give the runs of all its arms")
    record = runs.first(cell.arm) if cell.rank else None
    return {
        "part": cell.unit,
        **cell.model_dump(include={"arm", "role", "layer", "budget"}),
        "most_params": cell.most,
        "applicable": record is not None,
        "trainable_params": record and record.trainable_params,
        "lr": record and rate_of(record.recipe),
    }


if __name__ == "__main__":
    table_step.step("atlas.tables.map", __doc__, table, Places)
