"""The planned comparisons again, by kind of fact: does a placement that recalls as much also break as little?

As in ``atlas.tables.contrasts``, with the kinds of ``atlas.tables.knowledge`` in the place of domains.
"""

from __future__ import annotations

import pyarrow as pa

from atlas.metrics import BY_KIND
from atlas.tables import contrasts, table_step
from atlas.tables.columns import KNOWLEDGE_CONTRASTS
from atlas.tables.contrasts import Contrasts, Paired
from atlas.tables.knowledge import KINDS, scores_by_kind
from atlas.tables.runs import Runs
from atlas.ttt.run_files import PROBES


def table(runs: Runs, plan: Contrasts) -> pa.Table:
    """One row per planned contrast, checkpoint, kind of fact, probe and metric that both arms have.

    Raises AtlasError where a contrast names an arm without runs.
    """
    rows = contrasts.compared(Paired(runs.arms, scores_by_kind(runs.facts), BY_KIND), plan, runs)
    if rows.empty:
        return KNOWLEDGE_CONTRASTS.empty_table()
    rows = runs.with_bases(rows).rename(columns={"domain": "kind"})
    order = {"kind": list(KINDS), "probe": list(PROBES), "place": contrasts.places(plan)}
    ordered = rows.sort_values(
        ["place", "sessions", "kind", "probe"],
        key=lambda column: column.map(order[column.name].index) if column.name in order else column,
        kind="stable",
    )
    return table_step.as_table(ordered, KNOWLEDGE_CONTRASTS)


if __name__ == "__main__":
    table_step.step("atlas.tables.knowledge_contrasts", __doc__, table, Contrasts)
