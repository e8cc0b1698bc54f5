"""Retention by arm, checkpoint, probe, metric and domain, with 95% intervals over seeds and facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.metrics import OF_FACTS
from atlas.tables import table_step
from atlas.tables.columns import RETENTION
from atlas.tables.runs import Runs
from atlas.tables.scores import CHANCE, Counted, counted, fact_scores, reading_order, with_all_domains

CELL = ["arm", "sessions", "probe", "domain"]


def table(runs: Runs) -> pa.Table:
    """Make the retention table, one row per ``columns.RETENTION`` cell that has any facts."""
    return table_step.as_table(frame(runs), RETENTION)


def frame(runs: Runs) -> pd.DataFrame:
    """The retention table as a frame, rows in the order arm, sessions, probe, metric, domain (``all`` first)."""
    scores = with_all_domains(fact_scores(runs.facts))
    by_seed = scores.groupby([*CELL, "seed"], observed=True)[list(CHANCE.values())].mean()
    chances = by_seed.groupby(CELL, observed=True).mean()
    rows = [row for metric in OF_FACTS for row in _rows(counted(scores, metric, CELL), chances[CHANCE[metric]])]
    return reading_order(pd.DataFrame(rows), "arm", runs.arms)


def _rows(cells: Counted, chances: pd.Series[float]) -> Iterator[dict[str, Any]]:
    for place, found in cells.estimates(net=True):
        chance = chances[tuple(place[name] for name in CELL)] if place["metric"] == cells.metric else 0.0
        yield place | asdict(found) | {"chance": chance}


if __name__ == "__main__":
    table_step.step("atlas.tables.retention", __doc__, table)
