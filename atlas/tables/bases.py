"""The planned comparisons on each base by itself: do the bases agree?

Over the seeds that were taught on a base, all domains together. Nothing is tested here: the seed stays the unit of
replication, and a base has few of them.
"""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import pyarrow as pa

from atlas.metrics import OF_FACTS
from atlas.tables import table_step
from atlas.tables.columns import BASES
from atlas.tables.contrasts import Contrasts, Paired, places
from atlas.tables.runs import Runs
from atlas.tables.scores import ALL, fact_scores, reading_order


def table(runs: Runs, plan: Contrasts) -> pa.Table:
    """One row per planned contrast, checkpoint, probe, metric and base, those of one cell one below the other.

    Raises AtlasError where a contrast names an arm without runs.
    """
    scores = fact_scores(runs.facts).assign(domain=ALL)
    rows = [
        {
            **asdict(cell),
            **asdict(found.diff),
            "place": " ".join((family, arm_a, arm_b)),
            "family": family,
            "arm_a": arm_a,
            "arm_b": arm_b,
            "base_replica": replica,
            "value_a": found.value_a,
            "value_b": found.value_b,
            "diff": found.diff.value,
        }
        for replica in sorted({*runs.replica_of.values()})
        for paired in [Paired(runs.arms, scores[scores["seed"].map(runs.replica_of) == replica], OF_FACTS)]
        for family, pairs in plan.contrasts.items()
        for arm_a, arm_b in pairs
        for cell, found in paired.compare(arm_a, arm_b).items()
    ]
    if not rows:
        return BASES.empty_table()
    return table_step.as_table(reading_order(pd.DataFrame(rows), "place", places(plan)), BASES)


if __name__ == "__main__":
    table_step.step("atlas.tables.bases", __doc__, table, Contrasts)
