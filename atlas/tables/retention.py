"""Retention by arm, checkpoint, probe, metric and domain, with 95% intervals over seeds and facts."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.metrics import OF_FACTS
from atlas.tables import table_step
from atlas.tables.columns import RETENTION
from atlas.tables.runs import Runs
from atlas.tables.scores import ALTERNATIVES, CHANCE, counted, fact_scores, reading_order, with_all_domains

CELL = ["arm", "sessions", "probe", "domain"]


def table(runs: Runs) -> pa.Table:
    """Make the retention table, one row per ``columns.RETENTION`` cell that has any facts.

    A fact that a metric leaves out (association, where it has no alternative) is counted in ``left_out`` and is part of
    no other figure of its row, chance and mean of alternatives included; a cell that all facts are left out of has no
    row, but its facts are among those that the row of all domains counts.
    """
    return table_step.as_table(frame(runs), RETENTION)


def frame(runs: Runs) -> pd.DataFrame:
    """The retention table as a frame, rows in the order arm, sessions, probe, metric, domain (``all`` first)."""
    scores = with_all_domains(fact_scores(runs.facts))
    by_seed = scores.groupby([*CELL, "seed"], observed=True)[[*CHANCE.values(), ALTERNATIVES]].mean()
    means = by_seed.groupby(CELL, observed=True).mean()
    rows: list[dict[str, Any]] = []
    for metric in OF_FACTS:
        for place, found in counted(scores, metric, CELL).estimates(net=True):
            of_cell = means.loc[tuple(place[name] for name in CELL)]
            chance = of_cell[CHANCE[metric]] if place["metric"] == metric else 0.0
            among_taught = metric == "association"
            familiar = among_taught and place["probe"] == "placebo"
            row = {
                "chance": chance,
                ALTERNATIVES: of_cell[ALTERNATIVES] if among_taught else math.nan,
                "familiarity": 1 - found.value if familiar else math.nan,
            }
            rows.append(place | asdict(found) | row)
    return reading_order(runs.with_bases(pd.DataFrame(rows)), "arm", runs.arms)


if __name__ == "__main__":
    table_step.step("atlas.tables.retention", __doc__, table)
