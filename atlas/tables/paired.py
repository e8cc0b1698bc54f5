"""Two arms compared seed by seed and fact by fact: both were taught and asked the same facts in the same order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from atlas.errors import AtlasError
from atlas.metrics import NET, OF_FACTS
from atlas.tables.inference import effect_size, sign_flip
from atlas.tables.intervals import Estimate, estimate
from atlas.tables.runs import Runs
from atlas.tables.scores import ALL, Counted, counted, fact_scores

ASKED = ["sessions", "probe", "domain", "seed", "fact_id"]
CELL = ["sessions", "probe", "domain"]


@dataclass(frozen=True)
class Cell:
    """What is compared: facts of one probe and domain (``all``, or one) after so many sessions, under one metric."""

    sessions: int
    probe: str
    metric: str
    domain: str = ALL


@dataclass(frozen=True)
class Comparison:
    """Arm a minus arm b in one cell. ``diff.by_seed`` holds the paired differences, one a seed."""

    arm_a: str
    arm_b: str
    cell: Cell
    value_a: float
    value_b: float
    diff: Estimate

    @property
    def p_value(self) -> float:
        """Two-sided, of the sign-flip test, before any correction."""
        return sign_flip(self.diff.by_seed)

    @property
    def effect(self) -> float:
        return effect_size(self.diff.by_seed)


class Paired:
    """Scores of all arms and ablations side by side, one row a fact that was asked.

    Args:
        arms: those that there are.
        scores: of every fact, with the columns arm, sessions, probe, domain, seed, fact_id and one per metric.
        metrics: the names of these.
    """

    def __init__(self, arms: Sequence[str], scores: pd.DataFrame, metrics: Collection[str]) -> None:
        named = scores.astype(dict.fromkeys(("arm", "probe", "domain", "fact_id"), str))
        self._scores = named.pivot(index=ASKED, columns="arm", values=list(metrics))
        self._arms, self._metrics = arms, metrics

    @classmethod
    def of(cls, runs: Runs) -> Paired:
        """By all metrics and domains of some runs."""
        scores = fact_scores(runs.facts).astype({"domain": str})
        return cls(runs.arms, pd.concat([scores.assign(domain=ALL), scores], ignore_index=True), OF_FACTS)

    def compare(self, arm_a: str, arm_b: str) -> dict[Cell, Comparison]:
        """Compare two arms in every cell that both have. Raises AtlasError where there are no runs of one of them."""
        for arm in (arm_a, arm_b):
            if arm not in self._arms:
                raise AtlasError(f"contrast {arm_a} - {arm_b}: no run of {arm!r} among {', '.join(self._arms)}")
        found = {}
        for metric in self._metrics:
            both = self._scores[metric][[arm_a, arm_b]].dropna().reset_index()
            both["diff"] = both[arm_a] - both[arm_b]
            by_seed = both.groupby([*CELL, "seed"])[[arm_a, arm_b]].mean()
            for cell, result in _estimates(counted(both, metric, CELL, "diff", signed=True)):
                a, b = _values(by_seed, cell)
                found[cell] = Comparison(arm_a, arm_b, cell, a, b, result)
        return found


def _values(by_seed: pd.DataFrame, cell: Cell) -> tuple[float, float]:
    """Means over seeds of the two arms; net of placebo, over the seeds that have both."""
    values = by_seed.xs((cell.sessions, cell.probe, cell.domain))
    if cell.metric == NET:
        values = (values - by_seed.xs((cell.sessions, "placebo", cell.domain))).dropna()
    a, b = values.to_numpy(float).mean(axis=0)
    return float(a), float(b)


def _estimates(tally: Counted) -> Iterator[tuple[Cell, Estimate]]:
    """Every cell of a metric; of recognition net of placebo, too."""
    metric = tally.metric
    for sessions, probe, domain in tally.cells:
        sample, placebo = (tally.sample((sessions, which, domain)) for which in (probe, "placebo"))
        assert sample is not None
        if result := estimate(sample):
            yield Cell(int(sessions), probe, metric, domain), result
        net = metric == "recognition" and probe != "placebo" and placebo is not None
        if net and (result := estimate(sample, minus=placebo)):
            yield Cell(int(sessions), probe, NET, domain), result
