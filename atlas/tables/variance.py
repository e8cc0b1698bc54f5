"""How much of the variance of a score is recipe, placement, size of the adapter, or seed.

Takes the largest set of arms in which recipes (presets), placements (targets) and sizes (parameters, to a tenth) are
fully crossed: every combination is there, each with the same seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.metrics import OF_FACTS
from atlas.tables import output
from atlas.tables.anova import decompose
from atlas.tables.factorial import FEWEST_SEEDS, Design, Levels, design, place_name
from atlas.tables.runs import Runs
from atlas.tables.schema import VARIANCE
from atlas.tables.scores import fact_scores
from atlas.ttt.schema import RunRecord
from atlas.workflow.steps import run_step


def levels_of(records: list[RunRecord]) -> dict[str, Levels]:
    """Arm to its levels, without those that train no adapters or sit on another base."""
    return {
        record.arm: Levels(record.recipe.preset, place_name(record.targets), record.trainable_params)
        for record in records
        if record.recipe.active and record.method == "lora" and not record.reinit
    }


def table(runs: Runs) -> pa.Table:
    """One row per checkpoint, probe, metric and source of variance; none without a factorial or with too few seeds."""
    chosen = design(levels_of([runs.of(arm)[0] for arm in runs.arms]))
    seeds = sorted({seed for record in runs.records for seed in record.seeds})
    if chosen is None or len(seeds) < FEWEST_SEEDS:
        return VARIANCE.empty_table()
    scores = fact_scores(runs.facts[runs.facts["arm"].isin(chosen.arms.values())]).astype({"arm": str, "probe": str})
    means = scores.groupby(["sessions", "probe", "arm", "seed"], observed=True)[list(OF_FACTS)].mean()
    rows = [
        {"sessions": sessions, "probe": probe, "metric": metric, "n_seeds": len(seeds), "levels": str(chosen), **part}
        for (sessions, probe), part_means in means.groupby(level=["sessions", "probe"])
        for metric in OF_FACTS
        for part in _parts(part_means[metric].droplevel(["sessions", "probe"]), chosen, seeds)
    ]
    return output.as_table(rows, VARIANCE)


def _parts(scores: pd.Series[float], chosen: Design, seeds: list[int]) -> Iterator[dict[str, Any]]:
    by_arm = scores.unstack("seed")
    if set(by_arm.index) != set(chosen.arms.values()):  # some were not probed here
        return
    cells = [by_arm.loc[arm, seeds].to_numpy(float) for arm in chosen.arms.values()]
    grid = np.array(cells).reshape(*chosen.shape, len(seeds))
    for part in decompose(grid, chosen.factors):
        yield {"source": part.source, "share": part.share, "ci_low": part.low, "ci_high": part.high}


def main() -> None:
    """Write variance.parquet for the runs given."""
    output.make("atlas.tables.variance", __doc__, table)


if __name__ == "__main__":
    run_step(main)
