"""The planned comparisons of two arms: difference, interval, tests, what could have been seen, and a verdict.

The verdict in a cell (sessions, probe, metric, domain) is ``a > b`` where the sign-flip p-value is below 0.05,
corrected for the family's contrasts in that cell (step-down maximum over joint sign flips), and the whole 95% interval
lies above 0, ``b > a`` where it lies below 0, and else ``unresolved`` with the reason; where the seeds are too few for
any p-value to get there, the reason says so. Each cell is a question of its own: no correction is made over metrics,
probes, domains or sessions.

Beside each pair stands what its arms differ in, such as ``place`` or ``place and size``: where it is several things,
the difference cannot be put down to one of them. Arms are of one size where their parameters differ by at most 5%.

Arms are compared seed by seed and fact by fact: all were taught and asked the same facts in the same order. A seed that
was taught nothing of a domain is left out there, and has its sign flipped for the contrasts of the family that have it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.errors import AtlasError
from atlas.metrics import NET_OF, OF_FACTS
from atlas.study.settings import Name, Settings
from atlas.tables import table_step
from atlas.tables.columns import CONTRASTS
from atlas.tables.inference import effect_size, sign_flip, smallest_difference, step_down, verdict
from atlas.tables.intervals import Estimate, carried_by_few
from atlas.tables.level import attainable
from atlas.tables.runs import Runs
from atlas.tables.scores import ALL, counted, fact_scores, reading_order, with_all_domains
from atlas.tables.unlike import unlike

CELL = ["sessions", "probe", "domain"]


class Contrasts(Settings):
    """The part of the study that the contrasts depend on."""

    contrasts: dict[Name, list[tuple[Name, Name]]]


@dataclass(frozen=True)
class Cell:
    """What is compared: facts of one probe and domain (``all``, or one) after so many sessions, under one metric."""

    sessions: int
    probe: str
    metric: str
    domain: str = ALL


@dataclass(frozen=True)
class Comparison:
    """Arm a minus arm b in one cell. ``diff.exact`` holds the paired differences, one a seed."""

    arm_a: str
    arm_b: str
    cell: Cell
    value_a: float
    value_b: float
    diff: Estimate

    @property
    def p_value(self) -> float:
        """Two-sided, of the sign-flip test, before any correction."""
        return sign_flip(self.diff.exact)


class Paired:
    """Scores of all arms and ablations side by side, one row a fact that was asked.

    Args:
        arms: those that there are.
        scores: of every fact, with the columns arm, sessions, probe, domain, seed, fact_id and one per metric.
        metrics: the names of these.
    """

    def __init__(self, arms: Sequence[str], scores: pd.DataFrame, metrics: Collection[str]) -> None:
        named = scores.astype(dict.fromkeys(("arm", "probe", "domain", "fact_id"), str))
        index = [*CELL, "seed", "fact_id"]
        self._scores = named.pivot(index=index, columns="arm", values=list(metrics))
        self._asked = named.assign(asked=True).pivot(index=index, columns="arm", values="asked").notna()
        self._arms, self._metrics = arms, metrics

    @classmethod
    def of(cls, runs: Runs) -> Paired:
        """By all metrics and domains of some runs."""
        return cls(runs.arms, with_all_domains(fact_scores(runs.facts)), OF_FACTS)

    def compare(self, arm_a: str, arm_b: str) -> dict[Cell, Comparison]:
        """Compare two arms in every cell that both have. Raises AtlasError where there are no runs of one of them."""
        for arm in (arm_a, arm_b):
            if arm not in self._arms:
                raise AtlasError(f"contrast {arm_a} - {arm_b}: no run of {arm!r} among {', '.join(self._arms)}")
        found = {}
        asked = self._asked[[arm_a, arm_b]].all(axis=1)
        for metric in self._metrics:
            both = self._scores.loc[asked, metric][[arm_a, arm_b]].reset_index()
            both["diff"] = both[arm_a] - both[arm_b]  # NaN where the metric leaves the fact out, for either arm
            by_seed = both.groupby([*CELL, "seed"])[[arm_a, arm_b]].mean()
            for place, diff in counted(both, metric, CELL, "diff", signed=True).estimates(net=True):
                cell = Cell(**place)
                values = by_seed.xs((cell.sessions, cell.probe, cell.domain)).dropna()
                few = any(carried_by_few(values[arm].to_numpy(float)) for arm in (arm_a, arm_b))
                if cell.metric in NET_OF.values():  # over the seeds that have placebo facts, too
                    values = (values - by_seed.xs((cell.sessions, "placebo", cell.domain))).dropna()
                value_a, value_b = map(float, values.to_numpy(float).mean(axis=0))
                found[cell] = Comparison(arm_a, arm_b, cell, value_a, value_b, replace(diff, few_seeds=few))
        return found


def table(runs: Runs, plan: Contrasts) -> pa.Table:
    """One row per planned contrast and cell that both arms have.

    Raises AtlasError where a contrast names an arm without runs.
    """
    rows = compared(Paired.of(runs), plan, runs)
    if rows.empty:
        return CONTRASTS.empty_table()
    return table_step.as_table(reading_order(runs.with_bases(rows), "place", places(plan)), CONTRASTS)


def compared(paired: Paired, plan: Contrasts, runs: Runs) -> pd.DataFrame:
    """The rows of all planned contrasts in every cell that both arms have; ``place`` names the contrast."""
    rows = pd.DataFrame([row for family, pairs in plan.contrasts.items() for row in _family(family, pairs, paired)])
    if rows.empty:
        return rows
    differs = [unlike(runs.first(a), runs.first(b)) for a, b in zip(rows["arm_a"], rows["arm_b"], strict=True)]
    return rows.assign(place=rows["family"] + " " + rows["arm_a"] + " " + rows["arm_b"], differs=differs)


def places(plan: Contrasts) -> list[str]:
    """The names of all planned contrasts, in the study's order."""
    return [" ".join((family, *pair)) for family, pairs in plan.contrasts.items() for pair in pairs]


def _family(family: str, pairs: list[tuple[str, str]], paired: Paired) -> Iterator[dict[str, Any]]:
    by_cell: dict[Cell, list[Comparison]] = defaultdict(list)
    for pair in pairs:
        for cell, comparison in paired.compare(*pair).items():
            by_cell[cell].append(comparison)
    for comparisons in by_cell.values():
        adjusted = step_down([comparison.diff.exact for comparison in comparisons])
        for comparison, p_adjusted in zip(comparisons, adjusted, strict=True):
            diff = comparison.diff
            best = attainable(diff.n_seeds)
            decided, reason = verdict(diff.value, diff.ci_low, diff.ci_high, p_adjusted, best)
            yield {
                **asdict(comparison.cell),
                **asdict(diff),
                "family": family,
                "arm_a": comparison.arm_a,
                "arm_b": comparison.arm_b,
                "value_a": comparison.value_a,
                "value_b": comparison.value_b,
                "diff": diff.value,
                "p_value": comparison.p_value,
                "p_adjusted": p_adjusted,
                "p_attainable": best,
                "effect": effect_size(diff.by_seed),
                "mde": smallest_difference(diff.n_seeds, len(comparisons)) * diff.spread,
                "verdict": decided,
                "reason": reason,
            }


if __name__ == "__main__":
    table_step.step("atlas.tables.contrasts", __doc__, table, Contrasts)
