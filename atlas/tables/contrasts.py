"""The planned comparisons of two arms: difference, interval, tests, what could have been seen, and a verdict.

The verdict in a cell (sessions, probe, metric, domain) is ``a > b`` where the sign-flip p-value is below 0.05 after
Holm's correction over the family's contrasts in that cell and the whole 95% interval lies above 0, ``b > a`` where it
lies below 0, and else ``unresolved`` with the reason; where the seeds are too few for any p-value to get there, the
reason says so. Each cell is a question of its own: no correction is made over metrics, probes, domains or sessions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.study.settings import Name, Settings
from atlas.tables import output
from atlas.tables.inference import attainable, holm, verdict
from atlas.tables.paired import Cell, Comparison, Paired
from atlas.tables.power import smallest_difference
from atlas.tables.runs import Runs, read
from atlas.tables.schema import CONTRASTS
from atlas.tables.scores import reading_order
from atlas.workflow.steps import add_spec, run_step


class Contrasts(Settings):
    """The part of the study that the contrasts depend on."""

    contrasts: dict[Name, list[tuple[Name, Name]]]


def table(runs: Runs, plan: Contrasts) -> pa.Table:
    """One row per planned contrast and cell that both arms have.

    Raises AtlasError where a contrast names an arm without runs.
    """
    rows = compared(Paired.of(runs), plan)
    if rows.empty:
        return CONTRASTS.empty_table()
    return output.as_table(reading_order(rows, "place", places(plan)), CONTRASTS)


def compared(paired: Paired, plan: Contrasts) -> pd.DataFrame:
    """The rows of all planned contrasts in every cell that both arms have; ``place`` names the contrast."""
    rows = pd.DataFrame([row for family, pairs in plan.contrasts.items() for row in _family(family, pairs, paired)])
    return rows if rows.empty else rows.assign(place=rows["family"] + " " + rows["arm_a"] + " " + rows["arm_b"])


def places(plan: Contrasts) -> list[str]:
    """The names of all planned contrasts, in the study's order."""
    return [" ".join((family, *pair)) for family, pairs in plan.contrasts.items() for pair in pairs]


def _family(family: str, pairs: list[tuple[str, str]], paired: Paired) -> Iterator[dict[str, Any]]:
    by_cell: dict[Cell, list[Comparison]] = defaultdict(list)
    for pair in pairs:
        for cell, comparison in paired.compare(*pair).items():
            by_cell[cell].append(comparison)
    for comparisons in by_cell.values():
        p_values = [comparison.p_value for comparison in comparisons]
        for comparison, p_value, p_adjusted in zip(comparisons, p_values, holm(p_values), strict=True):
            yield {"family": family, "p_value": p_value} | _row(comparison, p_adjusted, len(comparisons))


def _row(comparison: Comparison, p_adjusted: float, family: int) -> dict[str, Any]:
    """One comparison of a family of so many, as a row of the table."""
    diff, cell = comparison.diff, comparison.cell
    best = attainable(diff.n_seeds, family)
    decided, reason = verdict(diff.value, diff.ci_low, diff.ci_high, p_adjusted, best)
    return {
        "arm_a": comparison.arm_a,
        "arm_b": comparison.arm_b,
        "sessions": cell.sessions,
        "probe": cell.probe,
        "metric": cell.metric,
        "domain": cell.domain,
        "n_seeds": diff.n_seeds,
        "n_facts": diff.n_facts,
        "n_tests": diff.n_tests,
        "value_a": comparison.value_a,
        "value_b": comparison.value_b,
        "diff": diff.value,
        "ci_low": diff.ci_low,
        "ci_high": diff.ci_high,
        "p_adjusted": p_adjusted,
        "p_attainable": best,
        "effect": comparison.effect,
        "mde": smallest_difference(diff.n_seeds, family) * diff.spread,
        "verdict": decided,
        "reason": reason,
    }


def main() -> None:
    """Write contrasts.parquet for the runs given."""
    make("atlas.tables.contrasts", __doc__, table)


def make(module: str, doc: str | None, compare: Callable[[Runs, Contrasts], pa.Table]) -> None:
    """Make by the command line a table of planned contrasts."""
    arguments = output.options(doc)
    add_spec(arguments, Contrasts)
    args = arguments.parse_args()
    runs = read(args.runs)
    output.write(module, args.out, compare(runs, args.spec), runs)


if __name__ == "__main__":
    run_step(main)
