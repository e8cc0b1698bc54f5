"""Retention by arm, checkpoint, probe, metric and domain, with 95% intervals over seeds and facts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.metrics import OF_FACTS
from atlas.tables import table_step
from atlas.tables.columns import RETENTION
from atlas.tables.runs import Runs
from atlas.tables.scores import CHANCE, counted, fact_scores, reading_order, with_all_domains

CELL = ["arm", "sessions", "probe", "domain"]


def table(runs: Runs) -> pa.Table:
    """Make the retention table, one row per ``columns.RETENTION`` cell that has any facts."""
    return table_step.as_table(frame(runs), RETENTION)


def frame(runs: Runs) -> pd.DataFrame:
    """The retention table as a frame, rows in the order arm, sessions, probe, metric, domain (``all`` first)."""
    scores = with_all_domains(fact_scores(runs.facts))
    by_seed = scores.groupby([*CELL, "seed"], observed=True)[list(CHANCE.values())].mean()
    chances = by_seed.groupby(CELL, observed=True).mean()
    rows: list[dict[str, Any]] = []
    for metric in OF_FACTS:
        of_metric = chances[CHANCE[metric]]
        for place, found in counted(scores, metric, CELL).estimates(net=True):
            chance = of_metric[tuple(place[name] for name in CELL)] if place["metric"] == metric else 0.0
            rows.append(place | asdict(found) | {"chance": chance})
    return reading_order(runs.with_bases(pd.DataFrame(rows)), "arm", runs.arms)


if __name__ == "__main__":
    table_step.step("atlas.tables.retention", __doc__, table)
