"""What teaching paraphrases is worth: recall by held-out ones, of which all arms are asked the same, against how many
were taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from atlas.metrics import OF_FACTS
from atlas.tables import table_step
from atlas.tables.columns import PARAPHRASES
from atlas.tables.runs import Runs
from atlas.tables.scores import counted, fact_scores
from atlas.ttt.run_files import RunRecord

CELL = ["arm", "sessions", "probe"]
PROBES = ("taught", "rephrase")


def table(runs: Runs) -> pa.Table:
    """One row per arm, checkpoint, probe and metric, for places where arms differ in ``paraphrases`` alone."""
    rows: list[dict[str, Any]] = []
    for records in series([runs.first(arm) for arm in runs.arms]):
        facts = runs.facts[runs.facts["arm"].isin([record.arm for record in records])]
        scores = fact_scores(facts[facts["probe"].isin(PROBES)].astype({"arm": str, "probe": str}))
        paraphrases = {record.arm: record.recipe.paraphrases for record in records}
        about = {"place": records[0].arm, "recipe": records[0].recipe.preset}
        for metric in OF_FACTS:
            of_metric = [row | {"paraphrases": paraphrases[row["arm"]]} for row in counted(scores, metric, CELL).rows()]
            of_metric.sort(key=lambda row: (row["paraphrases"], row["sessions"], row["probe"]))
            rows += [row | about for row in of_metric]
    return table_step.as_table(rows, PARAPHRASES)


def series(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Arms that differ in the number of paraphrases taught and in nothing else, fewest first; no arm alone."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        same = record.recipe.model_copy(update={"paraphrases": 0}).model_dump_json()
        place = record.method, record.plugged, sorted(record.targets), record.ranks, sorted(record.reinit)
        found.setdefault(f"{place} {same}", []).append(record)
    ordered = [sorted(some, key=lambda record: record.recipe.paraphrases) for some in found.values()]
    return [some for some in ordered if some[0].recipe.paraphrases < some[-1].recipe.paraphrases]


if __name__ == "__main__":
    table_step.step("atlas.tables.paraphrases", __doc__, table)
