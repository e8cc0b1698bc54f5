"""What teaching does to a base that knows facts already.

Apart stand facts that it did not know, facts that were taught with another answer than it gives, and facts that it
knows and that were never touched (locality).

A base knows a fact where it gives the answer first by greedy decoding, asked as it would be taught; see
``atlas.ttt.ask_base``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.tables import output
from atlas.tables.intervals import estimate
from atlas.tables.runs import Runs
from atlas.tables.schema import KNOWLEDGE
from atlas.tables.scores import counted
from atlas.workflow.steps import run_step

UNKNOWN, CONTRADICTED, KNOWN, UNTOUCHED = "unknown", "counterfactual", "known", "untouched"
KINDS = (UNKNOWN, CONTRADICTED, KNOWN, UNTOUCHED)
SCORES = {"recall": "recalled", "answered": "answered", "ranked": "ranked"}
"""Metric to the column of facts.parquet that scores it."""

_FACT = ["arm", "sessions", "seed", "fact_id"]


def table(runs: Runs) -> pa.Table:
    """One row per arm, checkpoint, kind of fact, probe and metric; of kinds and probes that there are."""
    facts = with_kinds(runs.facts)
    rows: list[dict[str, Any]] = []
    for metric, column in SCORES.items():
        rows += _estimates(facts.assign(score=facts[column].astype(float)), metric)
    order = {name: at for at, name in enumerate(runs.arms)}
    rows.sort(key=lambda row: (order[row["arm"]], row["sessions"], KINDS.index(row["kind"]), row["probe"] != "taught"))
    return output.as_table(rows, KNOWLEDGE)


def with_kinds(facts: pd.DataFrame) -> pd.DataFrame:
    """The rows of facts.parquet of facts that are taught or known, with the ``kind`` of each fact."""
    known = facts[facts["form"] == 0].set_index(_FACT)["answered_base"].rename("known")
    joined = facts.join(known, on=_FACT)
    placebo, asked = joined["probe"] == "placebo", joined["known"].eq(True)
    joined["kind"] = np.select([placebo, joined["contradicts"], asked], [UNTOUCHED, CONTRADICTED, KNOWN], UNKNOWN)
    return joined[~placebo | asked]


def _estimates(facts: pd.DataFrame, metric: str) -> Iterator[dict[str, Any]]:
    cell = ["arm", "sessions", "kind", "probe"]
    each = facts.groupby([*cell, "seed", "fact_id"], observed=True, sort=False)["score"].mean().reset_index()
    cells = counted(each, metric, cell, "score")
    for place in cells.cells:
        sample = cells.sample(place)
        if found := sample and estimate(sample):
            names = ("n_seeds", "n_facts", "n_tests", "value", "ci_low", "ci_high")
            yield {
                **dict(zip(cell, place, strict=True)),
                "metric": metric,
                **{name: getattr(found, name) for name in names},
            }


def main() -> None:
    """Write knowledge.parquet for the runs given."""
    output.make("atlas.tables.knowledge", __doc__, table)


if __name__ == "__main__":
    run_step(main)
