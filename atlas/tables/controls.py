"""The control that was never trained: an adapter that stays zero must score chance, whatever it is asked.

An arm is a control where its recipe trains nothing (has no phases). It must answer as the base does:
its recognition is exactly 0, because its sentences cannot be likelier than under the base, and it recalls exactly what
the base recalls. Anything else is a fault of the scoring, and refused. Its ranked score is held against the chance of
1 / (alternatives + 1). Its seeds differ only in which facts they are asked, so each fact counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.errors import AtlasError
from atlas.metrics import OF_FACTS
from atlas.tables import output
from atlas.tables.intervals import Estimate, estimate
from atlas.tables.runs import Runs
from atlas.tables.schema import CONTROLS
from atlas.tables.scores import ALL, CHANCE, counted, fact_scores, reading_order
from atlas.workflow.steps import run_step

CELL = ["arm", "sessions", "probe"]


def table(runs: Runs) -> pa.Table:
    """One row per control arm, checkpoint, probe and metric; none where the study has no such arm.

    Raises AtlasError, naming the file, where an adapter that was not trained answers otherwise than the base.
    """
    controls = [arm for arm in runs.arms if untrained(runs, arm)]
    _answers_of_the_base(runs, controls)
    scores = fact_scores(runs.facts[runs.facts["arm"].isin(controls)])
    once = scores.drop_duplicates([*CELL, "fact_id"]).assign(seed=0)
    rows = [row for metric in OF_FACTS for row in _rows(once, metric)]
    return output.as_table(reading_order(pd.DataFrame(rows), "arm", controls) if rows else rows, CONTROLS)


def untrained(runs: Runs, arm: str) -> bool:
    """Whether an arm trains nothing, and writes nothing."""
    return not runs.of(arm)[0].teaches


def _answers_of_the_base(runs: Runs, controls: list[str]) -> None:
    facts = runs.facts[runs.facts["arm"].isin(controls)]
    recalled_otherwise = facts["recalled"] != facts["recalled_base"]
    for metric, wrong in {"recognition": facts["recognised"], "recall": recalled_otherwise}.items():
        if wrong.any():
            first = facts[wrong].iloc[0]
            folder = runs.folder(first["arm"], first["seed"])
            raise AtlasError(
                f"{folder / 'facts.parquet'}: {metric} of fact {first['fact_id']!r} differs from the base's under arm "
                f"{first['arm']!r}, which trains nothing ({int(wrong.sum())} answers in all): the scoring is at fault, "
                "and no figure of this study can be trusted; delete the runs, make them again, report it if it stays"
            )


def _rows(scores: pd.DataFrame, metric: str) -> Iterator[dict[str, Any]]:
    cells = counted(scores, metric, CELL)
    for arm, sessions, probe in cells.cells:
        of_cell = scores.query("arm == @arm and sessions == @sessions and probe == @probe")
        chance = float(of_cell[CHANCE[metric]].mean()) if metric in CHANCE else 0.0
        sample = cells.sample((arm, sessions, probe))
        if result := sample and estimate(sample):
            key = {"arm": arm, "sessions": sessions, "probe": probe, "domain": ALL, "metric": metric, "chance": chance}
            yield key | asdict(result) | _judged(key, result)


def _judged(key: dict[str, Any], result: Estimate) -> dict[str, str]:
    above, below = result.ci_low > key["chance"], result.ci_high < key["chance"]
    verdict = "above chance" if above else "below chance" if below else "at chance"
    finding = (
        f"{key['arm']} after {key['sessions']} sessions, {key['probe']}: {key['metric']} {result.value:.1%} "
        f"({result.ci_low:.1%} to {result.ci_high:.1%}), chance {key['chance']:.1%}: {verdict}"
    )
    return {"verdict": verdict, "finding": finding}


def main() -> None:
    """Write controls.parquet for the runs given."""
    output.make("atlas.tables.controls", __doc__, table)


if __name__ == "__main__":
    run_step(main)
