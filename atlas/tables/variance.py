"""How much of the variance of a score is recipe, placement, size of the adapter, or seed.

Takes the largest set of arms in which recipes (presets), placements (targets) and sizes (parameters, to a tenth) are
fully crossed: every combination is there, each with the same seeds.

Balanced analysis of variance with seeds as blocks. Every combination of factor levels has one figure a seed; the sum of
squares of a set of factors follows from its cell means by inclusion and exclusion. What the seed adds by itself is a
block; all that is left, the factors' interactions with the seed, is the error. The share is omega squared,
(SS - df MSE) / (SST + MSE), which unlike eta squared is not inflated by chance (Hays, Statistics for Psychologists,
1963; Olejnik and Algina, Generalized eta and omega squared statistics, 2003); it may fall a little below 0. Intervals
are the delete-one jackknife's over seeds, with Student's quantile (Tukey 1958; Efron and Stein 1981).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from atlas.metrics import OF_FACTS
from atlas.tables import table_step
from atlas.tables.columns import VARIANCE
from atlas.tables.factorial import FEWEST_SEEDS, Levels, design, place_name
from atlas.tables.intervals import Floats, student
from atlas.tables.runs import Runs
from atlas.tables.scores import fact_scores

SEED, ERROR = "seed", "error"


@dataclass(frozen=True)
class Component:
    """A source of variance: factors joined by `` x ``, the seed, or the error."""

    source: str
    share: float
    ci_low: float
    ci_high: float


def table(runs: Runs) -> pa.Table:
    """One row per checkpoint, probe, metric and source of variance; none without a factorial or with too few seeds."""
    chosen = design(levels_of(runs))
    if chosen is None or len(runs.seeds) < FEWEST_SEEDS:
        return VARIANCE.empty_table()
    scores = fact_scores(runs.facts[runs.facts["arm"].isin(chosen.arms.values())]).astype({"arm": str, "probe": str})
    means = scores.groupby(["sessions", "probe", "arm", "seed"], observed=True)[list(OF_FACTS)].mean()
    about = {"n_seeds": len(runs.seeds), "levels": str(chosen)}
    rows = []
    for (sessions, probe), of_cell in means.groupby(level=["sessions", "probe"]):
        for metric in OF_FACTS:
            by_arm = of_cell[metric].droplevel(["sessions", "probe"]).unstack("seed").reindex(columns=runs.seeds)
            if set(by_arm.index) != set(chosen.arms.values()):
                continue  # some were not probed here
            asked = scores[(scores["sessions"] == sessions) & (scores["probe"] == probe)]
            left_out = int(asked[metric].isna().sum())
            cells = [by_arm.loc[arm, runs.seeds].to_numpy(float) for arm in chosen.arms.values()]
            if np.isnan(cells).any():
                continue  # a seed has no such facts, or the metric leaves out all: the design is not balanced
            grid = np.array(cells).reshape(*chosen.shape, len(runs.seeds))
            cell = {"sessions": sessions, "probe": probe, "metric": metric, "left_out": left_out, **about}
            rows += [cell | asdict(component) for component in decompose(grid, chosen.factors)]
    return table_step.as_table(rows, VARIANCE)


def levels_of(runs: Runs) -> dict[str, Levels]:
    """Arm to its levels, without those that train no adapters or sit on another base."""
    return {
        arm: Levels(record.recipe.preset, place_name(record.targets), record.trainable_params)
        for arm in runs.arms
        if (record := runs.first(arm)).recipe.active and record.method == "lora" and not record.reinit
    }


def decompose(grid: Floats, factors: list[str]) -> list[Component]:
    """Split the variance of ``grid``, shape (levels of each factor..., seeds), at least two of each.

    Raises ValueError where there are fewer than three seeds, since none could be left out.
    """
    seeds = grid.shape[-1]
    if seeds < FEWEST_SEEDS:
        raise ValueError(f"{seeds} seeds; an interval takes at least three")
    whole = shares(grid, factors)
    without = [shares(np.delete(grid, seed, axis=-1), factors) for seed in range(seeds)]
    found = []
    for source, value in whole.items():
        values = np.array([one[source] for one in without])
        centre = seeds * value - (seeds - 1) * float(values.mean())
        spread = math.sqrt((seeds - 1) / seeds * float(((values - values.mean()) ** 2).sum()))
        half = student(seeds - 1) * spread
        found.append(Component(source, value, centre - half, centre + half))
    return found


def shares(grid: Floats, factors: list[str]) -> dict[str, float]:
    """Omega squared of every set of factors, the smallest sets first, of the seed, and what is left for the error."""
    axes = range(len(factors))
    sets = [chosen for size in range(1, len(factors) + 1) for chosen in itertools.combinations(axes, size)]
    squares = {chosen: float((_effect(grid, chosen) ** 2).mean()) * grid.size for chosen in sets}
    seed = float((_effect(grid, (grid.ndim - 1,)) ** 2).mean()) * grid.size
    total = float(((grid - grid.mean()) ** 2).sum())
    if total <= 1e-12:
        return dict.fromkeys([" x ".join(factors[i] for i in chosen) for chosen in sets] + [SEED, ERROR], 0.0)
    cells = math.prod(grid.shape[:-1])
    error = (total - sum(squares.values()) - seed) / ((cells - 1) * (grid.shape[-1] - 1))

    def omega(square: float, freedom: int) -> float:
        return float((square - freedom * error) / (total + error))

    found = {
        " x ".join(factors[i] for i in chosen): omega(square, math.prod(grid.shape[i] - 1 for i in chosen))
        for chosen, square in squares.items()
    }
    found[SEED] = omega(seed, grid.shape[-1] - 1)
    return found | {ERROR: 1 - sum(found.values())}


def _effect(grid: Floats, chosen: tuple[int, ...]) -> Floats:
    """What a set of axes adds to the means beyond its subsets, broadcastable to the grid."""
    effect: Floats = np.zeros((1,) * grid.ndim)
    for size in range(len(chosen) + 1):
        for some in itertools.combinations(chosen, size):
            others = tuple(axis for axis in range(grid.ndim) if axis not in some)
            effect = effect + (-1) ** (len(chosen) - size) * grid.mean(axis=others, keepdims=True)
    return effect


if __name__ == "__main__":
    table_step.step("atlas.tables.variance", __doc__, table)
