"""The control that was never trained: an adapter that stays zero must score chance, whatever it is asked.

An arm is a control where its recipe trains nothing (has no phases). It must answer as the base does:
its recognition is exactly 0, because its sentences cannot be likelier than under the base, and it recalls exactly what
the base recalls. Anything else is a fault of the scoring, and refused. Metrics whose level is no exact one are held
against it: that of a choice among alternatives is 1 / (1 + alternatives). Its seeds differ only in which facts they are
asked, and among which alternatives, so each fact counts once, by its mean over the seeds that ask it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.errors import AtlasError
from atlas.metrics import OF_FACTS, REGISTRY
from atlas.phrases import plural
from atlas.tables import table_step
from atlas.tables.columns import CONTROLS
from atlas.tables.runs import Runs
from atlas.tables.scores import ALL, CHANCE, counted, fact_scores, reading_order

CELL = ["arm", "sessions", "probe"]


def table(runs: Runs) -> pa.Table:
    """One row per control arm, checkpoint, probe and metric; none where the study has no such arm.

    Raises AtlasError, naming the file, where an adapter that was not trained answers otherwise than the base.
    """
    controls = [arm for arm in runs.arms if not runs.first(arm).teaches]
    facts = runs.facts[runs.facts["arm"].isin(controls)]
    _answers_of_the_base(runs, facts)
    scores = fact_scores(facts).drop(columns=["domain", "seed"])
    once = scores.groupby([*CELL, "fact_id"], observed=True, sort=False).mean().reset_index().assign(seed=0)
    rows: list[dict[str, Any]] = []
    for metric in OF_FACTS:
        chances = {cell: of_cell[CHANCE[metric]].mean() for cell, of_cell in once.groupby(CELL, observed=True)}
        for row in counted(once, metric, CELL).rows():
            chance = float(chances[row["arm"], row["sessions"], row["probe"]])
            above, below = row["ci_low"] > chance, row["ci_high"] < chance
            verdict = "above chance" if above else "below chance" if below else "at chance"
            finding = (
                f"{row['arm']} after {row['sessions']} sessions, {row['probe']}: {metric} {row['value']:.1%} "
                f"({row['ci_low']:.1%} to {row['ci_high']:.1%}), chance {chance:.1%}: {verdict}"
            )
            rows.append(row | {"domain": ALL, "chance": chance, "verdict": verdict, "finding": finding})
    return table_step.as_table(reading_order(pd.DataFrame(rows), "arm", controls) if rows else rows, CONTROLS)


def _answers_of_the_base(runs: Runs, facts: pd.DataFrame) -> None:
    for name, metric in REGISTRY.items():
        if not (metric.score and metric.exact):
            continue
        wrong = metric.score(facts).ne(metric.level(facts))
        if wrong.any():
            first = facts[wrong].iloc[0]
            folder = runs.folder(first["arm"], first["seed"])
            raise AtlasError(
                f"{folder / 'facts.parquet'}: {name} of fact {first['fact_id']!r} differs from the base's under arm "
                f"{first['arm']!r}, which trains nothing ({plural(int(wrong.sum()), 'answer')} in all): the scoring is "
                "at fault, and no figure of this study can be trusted; delete the runs, make them again, report it if "
                "it stays"
            )


if __name__ == "__main__":
    table_step.step("atlas.tables.controls", __doc__, table)
