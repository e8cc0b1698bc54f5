"""Some wrong answers of every arm, word by word, after its last checkpoint: what it says in place of what was taught.

Drawn from all facts of all seeds as they were taught, in one order for all arms: where two arms fail on the same facts,
the same ones are shown. `atlas show answers` has all.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from atlas.draws import rng
from atlas.pool.facts import Fact
from atlas.tables import association, table_step
from atlas.tables.columns import WRONG_ANSWERS
from atlas.tables.runs import Runs
from atlas.workflow.steps import run_step

SHOWN = 3  # of an arm


def table(runs: Runs, pool: Sequence[Fact], origin: str) -> pa.Table:
    """At most ``SHOWN`` rows an arm. Raises AtlasError where the pool lacks a fact that the runs were taught."""
    taught = runs.facts[runs.facts["probe"] == "taught"]
    facts = association.facts_taught(runs, pool, origin)
    asked = taught[["seed", "fact_id"]].drop_duplicates()
    asked = asked.assign(place=rng("wrong answers").permutation(len(asked)))
    ended = taught["sessions"] == taught.groupby("arm", observed=True)["sessions"].transform("max")
    wrong = taught[ended & ~taught["recalled"]].merge(asked, on=["seed", "fact_id"])
    some = wrong.sort_values(["arm", "place"]).groupby("arm", observed=True).head(SHOWN)
    shown = [facts[fact_id] for fact_id in some["fact_id"]]
    some = some.assign(
        prompt=[fact.prompt for fact in shown],
        answer=[fact.answer for fact in shown],
        aliases=[" or ".join(fact.aliases) for fact in shown],
    )
    return table_step.as_table(some, WRONG_ANSWERS)


if __name__ == "__main__":
    run_step(lambda: association.make("atlas.tables.wrong_answers", __doc__, table))
