"""How much of the variance of a score is recipe, placement, size of the adapter, or seed.

Takes the largest set of arms in which recipes (presets), placements (targets) and sizes (parameters, to a tenth) are
fully crossed: every combination is there, each with the same seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.steps import run_step
from atlas.tables import output
from atlas.tables.anova import decompose
from atlas.tables.runs import Runs
from atlas.tables.schema import VARIANCE
from atlas.tables.scores import METRICS, fact_scores
from atlas.ttt.schema import RunRecord

FACTORS = ["recipe", "place", "size"]
FEWEST_SEEDS = 3
ALIKE = 0.1  # sizes that differ by less are one level


@dataclass(frozen=True)
class Design:
    """A full factorial: levels of each factor, and the arm of every combination."""

    levels: tuple[tuple[Any, ...], ...]
    arms: dict[tuple[Any, ...], str]

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: {', '.join(map(str, some))}" for name, some in zip(FACTORS, self.levels, strict=True)
        )


def design(records: list[RunRecord]) -> Design | None:
    """The largest full factorial of at least two levels of each factor; None where there is none."""
    trained = [one for one in reversed(records) if one.recipe.active and one.method == "lora" and not one.reinit]
    places = {_levels(record): record.arm for record in trained}
    places = _with_sizes(places)
    axes = [sorted({key[i] for key in places}, key=str) for i in range(len(FACTORS))]
    found: list[Design] = []
    for chosen in itertools.product(*(list(_subsets(axis)) for axis in axes)):
        cells = list(itertools.product(*chosen))
        if all(cell in places for cell in cells):
            found.append(Design(chosen, {cell: places[cell] for cell in cells}))
    return max(found, key=lambda one: len(one.arms), default=None)


def _levels(record: RunRecord) -> tuple[str, str, int]:
    return record.recipe.preset, "+".join(sorted(record.targets)), record.trainable_params


def _with_sizes(places: dict[tuple[str, str, int], str]) -> dict[tuple[Any, ...], str]:
    """The same with sizes that are alike under the name of the smallest of them, in thousands."""
    names: dict[int, str] = {}
    first = 0
    for size in sorted({key[2] for key in places}):
        first = size if not first or size > first * (1 + ALIKE) else first
        names[size] = f"{first / 1000:.0f} thousand parameters"
    return {(recipe, place, names[size]): arm for (recipe, place, size), arm in places.items()}


def _subsets(axis: list[Any]) -> Iterator[tuple[Any, ...]]:
    for count in range(2, len(axis) + 1):
        yield from itertools.combinations(axis, count)


def table(runs: Runs) -> pa.Table:
    """One row per checkpoint, probe, metric and source of variance; none without a factorial or with too few seeds."""
    chosen = design([runs.of(arm)[0] for arm in runs.arms])
    seeds = sorted({seed for record in runs.records for seed in record.seeds})
    if chosen is None or len(seeds) < FEWEST_SEEDS:
        return VARIANCE.empty_table()
    scores = fact_scores(runs.facts[runs.facts["arm"].isin(chosen.arms.values())]).astype({"arm": str, "probe": str})
    means = scores.groupby(["sessions", "probe", "arm", "seed"], observed=True)[list(METRICS)].mean()
    rows = [
        {"sessions": sessions, "probe": probe, "metric": metric, "n_seeds": len(seeds), "levels": str(chosen), **part}
        for (sessions, probe), part_means in means.groupby(level=["sessions", "probe"])
        for metric in METRICS
        for part in _parts(part_means[metric].droplevel(["sessions", "probe"]), chosen, seeds)
    ]
    return output.as_table(rows, VARIANCE)


def _parts(scores: pd.Series[float], chosen: Design, seeds: list[int]) -> Iterator[dict[str, Any]]:
    by_arm = scores.unstack("seed")
    if set(by_arm.index) != set(chosen.arms.values()):  # some were not probed here
        return
    cells = [by_arm.loc[arm, seeds].to_numpy(float) for arm in chosen.arms.values()]
    grid = np.array(cells).reshape(*(len(axis) for axis in chosen.levels), len(seeds))
    for part in decompose(grid, FACTORS):
        yield {"source": part.source, "share": part.share, "ci_low": part.low, "ci_high": part.high}


def main() -> None:
    """Write variance.parquet for the runs given."""
    output.make("atlas.tables.variance", __doc__, table)


if __name__ == "__main__":
    run_step(main)
