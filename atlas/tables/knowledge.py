"""What teaching does to a base that knows facts already.

Apart stand facts that it did not know, facts that were taught with another answer than it gives, and what it knows and
was never taught (locality): facts, and neighbours of those taught, which are the same relation of other subjects.

A base knows a fact where it gives the answer first by greedy decoding, asked as it would be taught, and a neighbour
where it so answers its question; see ``atlas.ttt.ask_base``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.metrics import BY_KIND
from atlas.pool.facts import NEIGHBOUR
from atlas.tables import table_step
from atlas.tables.columns import KNOWLEDGE
from atlas.tables.runs import Runs
from atlas.tables.scores import counted, fact_scores
from atlas.ttt.run_files import PROBES

UNKNOWN, CONTRADICTED, KNOWN, UNTOUCHED = "unknown", "counterfactual", "known", "untouched"
KINDS = (UNKNOWN, CONTRADICTED, KNOWN, UNTOUCHED, NEIGHBOUR)
_FACT = ["arm", "sessions", "seed", "fact_id"]
CELL = ["arm", "sessions", "kind", "probe"]


def table(runs: Runs) -> pa.Table:
    """One row per arm, checkpoint, kind of fact, probe and metric; of kinds and probes that there are."""
    scores = scores_by_kind(runs.facts).rename(columns={"domain": "kind"})
    rows = [
        row | {"bases": runs.bases(row["exact"])} for metric in BY_KIND for row in counted(scores, metric, CELL).rows()
    ]
    order = {name: at for at, name in enumerate([*runs.arms, *PROBES])}
    rows.sort(key=lambda row: (order[row["arm"]], row["sessions"], KINDS.index(row["kind"]), order[row["probe"]]))
    return table_step.as_table(rows, KNOWLEDGE)


def scores_by_kind(facts: pd.DataFrame) -> pd.DataFrame:
    """Scores of the facts that are taught or known, as ``fact_scores`` has them, with kinds in the place of domains."""
    known = facts[facts["form"] == 0].set_index(_FACT)["answered_base"].rename("known")
    joined = facts.join(known, on=_FACT)
    placebo, neighbour = joined["probe"] == "placebo", joined["probe"] == NEIGHBOUR
    asked = joined["answered_base"].where(neighbour, joined["known"].eq(True))
    kinds = {UNTOUCHED: placebo, NEIGHBOUR: neighbour, CONTRADICTED: joined["contradicts"], KNOWN: asked}
    joined["domain"] = np.select([*kinds.values()], [*kinds], UNKNOWN)
    return fact_scores(joined[asked | ~(placebo | neighbour)], BY_KIND)


if __name__ == "__main__":
    table_step.step("atlas.tables.knowledge", __doc__, table)
