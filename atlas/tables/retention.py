"""Retention by arm, checkpoint, probe, metric and domain, with 95% intervals over seeds and facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.metrics import NET, OF_FACTS
from atlas.tables import output
from atlas.tables.intervals import Estimate, estimate
from atlas.tables.runs import Runs
from atlas.tables.schema import RETENTION
from atlas.tables.scores import ALL, CHANCE, Counted, counted, fact_scores, reading_order
from atlas.workflow.steps import run_step

CELL = ["arm", "sessions", "probe", "domain"]


def table(runs: Runs) -> pa.Table:
    """Make the retention table, one row per ``schema.RETENTION`` cell that has any facts."""
    return output.as_table(frame(runs), RETENTION)


def frame(runs: Runs) -> pd.DataFrame:
    """The retention table as a frame, rows in the order arm, sessions, probe, metric, domain (``all`` first)."""
    scores = fact_scores(runs.facts)
    everything = scores.assign(domain=ALL)
    both = pd.concat([everything, scores.astype({"domain": str})], ignore_index=True)
    chances = (
        both.groupby([*CELL, "seed"], observed=True)[list(CHANCE.values())].mean().groupby(CELL, observed=True).mean()
    )
    rows = [row for metric in OF_FACTS for row in _rows(counted(both, metric, CELL), metric, chances)]
    return reading_order(pd.DataFrame(rows), "arm", runs.arms)


def _rows(cells: Counted, metric: str, chances: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for arm, sessions, probe, domain in cells.cells:
        sample = cells.sample((arm, sessions, probe, domain))
        assert sample is not None
        key = {"arm": arm, "sessions": sessions, "probe": probe, "domain": domain}
        chance = chances.at[(arm, sessions, probe, domain), CHANCE[metric]] if metric in CHANCE else 0.0
        yield from _row(key | {"metric": metric, "chance": chance}, estimate(sample))
        placebo = cells.sample((arm, sessions, "placebo", domain))
        if metric == "recognition" and probe != "placebo" and placebo:
            yield from _row(key | {"metric": NET, "chance": 0.0}, estimate(sample, minus=placebo))


def _row(key: dict[str, Any], result: Estimate | None) -> Iterator[dict[str, Any]]:
    if result:
        yield key | asdict(result)


def main() -> None:
    """Write retention.parquet for the runs given."""
    output.make("atlas.tables.retention", __doc__, table)


if __name__ == "__main__":
    run_step(main)
