"""The planned comparisons again, by kind of fact: does a placement that recalls as much also break as little?

As in ``atlas.tables.contrasts``, with the kinds of ``atlas.tables.knowledge`` in the place of domains.
"""

from __future__ import annotations

import pyarrow as pa

from atlas.tables import output
from atlas.tables.contrasts import Contrasts, compared, make, places
from atlas.tables.knowledge import KINDS, SCORES, with_kinds
from atlas.tables.paired import Paired
from atlas.tables.runs import Runs
from atlas.tables.schema import KNOWLEDGE_CONTRASTS
from atlas.ttt.run_files import PROBES
from atlas.workflow.steps import run_step


def table(runs: Runs, plan: Contrasts) -> pa.Table:
    """One row per planned contrast, checkpoint, kind of fact, probe and metric that both arms have.

    Raises AtlasError where a contrast names an arm without runs.
    """
    rows = compared(_by_kind(runs), plan)
    if rows.empty:
        return KNOWLEDGE_CONTRASTS.empty_table()
    rows = rows.rename(columns={"domain": "kind"})
    order = {"kind": list(KINDS), "probe": list(PROBES), "place": places(plan)}
    keys = ["place", "sessions", "kind", "probe"]
    ordered = rows.sort_values(
        keys, key=lambda column: column.map(order[column.name].index) if column.name in order else column, kind="stable"
    )
    return output.as_table(ordered, KNOWLEDGE_CONTRASTS)


def _by_kind(runs: Runs) -> Paired:
    """Every fact's scores, the mean over its prompts, with its kind where a domain stands otherwise."""
    facts = with_kinds(runs.facts)
    scores = facts.assign(
        domain=facts["kind"], **{name: facts[column].astype(float) for name, column in SCORES.items()}
    )
    of_fact = ["arm", "sessions", "probe", "domain", "seed", "fact_id"]
    means = scores.groupby(of_fact, observed=True, sort=False)[list(SCORES)].mean().reset_index()
    return Paired(runs.arms, means, SCORES)


def main() -> None:
    """Write knowledge_contrasts.parquet for the runs given."""
    make("atlas.tables.knowledge_contrasts", __doc__, table)


if __name__ == "__main__":
    run_step(main)
