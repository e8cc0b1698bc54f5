"""What a benchmark found: goals as Parquet, a table for people, a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.workflow import files, progress


@dataclass(frozen=True)
class Goal:
    """A goal, and what was measured of it: ``samples`` in ``unit``, none where ``source`` says why not."""

    what: str
    unit: str
    goal: float
    more: bool  # whether more is better
    samples: tuple[float, ...]
    source: str

    @property
    def row(self) -> dict[str, Any]:
        """Of the table: median and quartiles; NaN, and no verdict, where nothing was measured."""
        low, middle, high = np.quantile(self.samples, [0.25, 0.5, 0.75]) if self.samples else [np.nan] * 3
        reached = bool(middle >= self.goal if self.more else middle <= self.goal) if self.samples else None
        return {
            "what": self.what,
            "unit": self.unit,
            "measured": middle,
            "q1": low,
            "q3": high,
            "samples": len(self.samples),
            "goal": self.goal,
            "more_is_better": self.more,
            "reached": reached,
            "source": self.source,
        }

    def __str__(self) -> str:
        cells = self.cells
        return f"{cells[0]}: {cells[1]}, goal {cells[2]}, reached: {cells[3]}"

    @property
    def cells(self) -> list[str]:
        """Of the table for people."""
        row = self.row
        shown = f"{row['measured']:.3g} ({row['q1']:.3g} to {row['q3']:.3g})" if len(self.samples) > 1 else "-"
        if len(self.samples) == 1:
            shown = f"{row['measured']:.3g}"
        reached = {True: "yes", False: "no", None: "-"}[row["reached"]]
        bound = f"{'at least' if self.more else 'at most'} {self.goal:g} {self.unit}"
        return [self.what, shown, bound, reached, self.source]


def write(out: Path, goals: Sequence[Goal], about: Mapping[str, Any]) -> None:
    """Write ``goals.parquet``, ``engine.md`` and the chart ``goals``; say the table."""
    from atlas.charts.picture import save  # machines with a GPU may have nothing that draws

    table = pa.Table.from_pandas(pd.DataFrame([goal.row for goal in goals]), preserve_index=False)
    files.write_parquet(out / "goals.parquet", table, about)
    files.write_text(out / "engine.md", markdown(goals, about))
    save(chart(goals), out / "goals")
    progress.say(markdown(goals, about) + f"\nsee {out}/goals.html, {out}/goals.parquet")


def markdown(goals: Sequence[Goal], about: Mapping[str, Any]) -> str:
    """The table: medians, in brackets the quartiles."""
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("torch", "transformers", "peft"))
    head = f"One thread, {versions}; {about['started']} to {about['finished']}; medians, quartiles in brackets.\n\n"
    return head + goals_table(goals)


def goals_table(goals: Sequence[Goal]) -> str:
    """Goals as a table in Markdown."""
    rows = [["What", "Measured", "Goal", "Reached", "How"], ["---", "---:", "---:", "---", "---"]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [*rows, *(goal.cells for goal in goals)])


def chart(goals: Sequence[Goal]) -> Any:
    """How far each goal is reached: 1 is the goal, more is better; lines from quartile to quartile."""
    import altair as alt

    from atlas.charts.theme import PALETTE, SOFT, title

    found = pd.DataFrame([goal.row for goal in goals if goal.samples])
    for name in ("measured", "q1", "q3"):
        ratio = found[name] / found["goal"]
        found[f"part_{name}"] = ratio.where(found["more_is_better"], 1 / ratio)
    y = alt.Y("what:N", sort=None, title=None, axis=alt.Axis(labelLimit=400))
    rules = (
        alt.Chart(found)
        .mark_rule(strokeWidth=2, color=PALETTE[0])
        .encode(
            x=alt.X("part_q1:Q", title="Measured over goal, or goal over measured where less is better; 1: reached"),
            x2="part_q3:Q",
            y=y,
        )
    )
    points = (
        alt.Chart(found).mark_point(filled=True, size=70, opacity=1, color=PALETTE[0]).encode(x="part_measured:Q", y=y)
    )
    line = alt.Chart(pd.DataFrame({"goal": [1.0]})).mark_rule(strokeDash=[4, 4], color=SOFT).encode(x="goal:Q")
    says = f"{found['reached'].sum()} of {len(goals)} goals of the engine are reached"
    how = ["Medians, lines from quartile to quartile, the dashed line is the goal."]
    if len(found) < len(goals):
        how.append(f"Not measured here: {len(goals) - len(found)}.")
    return (line + rules + points).properties(width=420, title=title([says], how)).configure_axis(labelColor=SOFT)
