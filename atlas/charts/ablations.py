"""Chart of the ablations: what the parts of the recipe are worth, beside the arm with the whole recipe."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts.dots import dressed, panels
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import colours, title
from atlas.charts.words import METRIC_NAMES, basis, percent, placebo_warning
from atlas.steps import run_step

METRICS = ("recall", "recognition")


def draw(tables: Tables) -> alt.VConcatChart:
    """One row of panels a metric and reference arm, one column a checkpoint; recipes from top to bottom."""
    rows = tables.ablations.query("domain == 'all' and metric in @METRICS")
    palette = colours(tables.names)
    rows = rows.assign(variant=rows["variant"].str.replace("_", " "))
    shown = dressed(rows, rows["reference"].map(palette))
    charts = [
        panels(part, "variant", list(dict.fromkeys(part["variant"])), f"{reference} · {METRIC_NAMES[metric]}")
        for metric in METRICS
        for reference, part in shown[shown["metric"] == metric].groupby("reference", sort=False)
    ]
    return alt.vconcat(*charts, spacing=26).properties(title=title(finding(rows), subtitle(rows)))


def finding(rows: pd.DataFrame) -> list[str]:
    """For each reference its recall after the last checkpoint, between the worst and the best of its variants."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    recall = last.query("probe == 'taught' and metric == 'recall'")
    return [_compared(part) for _, part in recall.groupby("reference", sort=False)]


def subtitle(rows: pd.DataFrame) -> list[str]:
    """Where the figures of the title come from, seeds, facts, intervals, and what recognition is worth."""
    sessions = rows["sessions"].max()
    placebo = rows.query("probe == 'placebo' and metric == 'recognition' and sessions == @sessions")
    return [
        f"Recall of taught facts after {sessions} sessions. {placebo_warning(placebo)}.",
        f"{basis(rows[rows['probe'] == 'taught'])}.",
    ]


def _compared(recall: pd.DataFrame) -> str:
    whole = recall[recall["arm"] == recall["reference"]].iloc[0]
    said = f"{whole['arm']}: {percent(whole['value'])} with the whole recipe"
    others = recall[recall["arm"] != recall["reference"]].sort_values("value", kind="stable")
    ends = others.iloc[[0, -1]] if len(others) > 1 else others
    return ", ".join([said, *(f"{percent(row['value'])} {row['variant']}" for row in ends.to_dict("records"))])


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
