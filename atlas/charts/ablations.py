"""Chart of the ablations: what the parts of the recipe are worth, beside the arm with the whole recipe."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from atlas.charts import dots
from atlas.charts.dots import dressed, panels
from atlas.charts.live import Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import colours, title
from atlas.charts.words import METRIC_NAMES, SHORT, basis, percent, placebo_warning, sentences
from atlas.workflow.steps import run_step

METRICS = ("recall", "recognition")


def draw(tables: Tables) -> alt.VConcatChart:
    """One row of panels a metric and reference arm, one column a checkpoint; recipes from top to bottom."""
    rows = tables.ablations.query("domain == 'all' and metric in @METRICS")
    palette = colours(tables.names)
    shown = dressed(rows).assign(variant=rows["variant"].str.replace("_", " "))
    charts = [
        panels(part, look(part, "variant", palette), f"{reference} · {METRIC_NAMES[metric]}")
        for metric in METRICS
        for reference, part in shown[shown["metric"] == metric].groupby("reference", sort=False)
    ]
    return alt.vconcat(*charts, spacing=26).properties(title=title(finding(rows), subtitle(rows)))


def look(rows: pd.DataFrame, y: str, palette: Mapping[str, str]) -> dots.Look:
    """Recipes from top to bottom, each in the colour of the arm that it varies."""
    return dots.Look(y, list(dict.fromkeys(rows[y])), palette, hue="reference")


def live(tables: Tables) -> Figure:
    """One metric at a time; a recipe goes with the arm that it varies."""
    whole = tables.ablations.query("domain == 'all'")
    rows = dressed(whole).drop(columns=["panel", "contract", "chance", "n_tests", "domain"])
    return Figure(
        name="ablations",
        table="ablations",
        rows=rows,
        chart=dots.alive(look(rows, "arm", colours(tables.names))),
        columns=dots.COLUMNS,
        said={
            cell: (sentences(said(part, cell[0])), f"{basis(part[part['probe'] == 'taught'])}.")
            for cell, part in cells(rows)
        },
        arms=("reference",),
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """For each reference its recall after the last checkpoint, between the worst and the best of its variants."""
    return said(rows[rows["sessions"] == rows["sessions"].max()], "recall")


def said(rows: pd.DataFrame, metric: str) -> list[str]:
    """For each reference one metric with the whole recipe, and the worst and the best of its variants."""
    taught = rows[(rows["probe"] == "taught") & (rows["metric"] == metric)]
    return [_compared(part, metric) for _, part in taught.groupby("reference", sort=False)]


def subtitle(rows: pd.DataFrame) -> list[str]:
    """Where the figures of the title come from, seeds, facts, intervals, and what recognition is worth."""
    sessions = rows["sessions"].max()
    placebo = rows.query("probe == 'placebo' and metric == 'recognition' and sessions == @sessions")
    return [
        f"Recall of taught facts after {sessions} sessions. {placebo_warning(placebo)}.",
        f"{basis(rows[rows['probe'] == 'taught'])}.",
    ]


def _compared(rows: pd.DataFrame, metric: str) -> str:
    whole = rows[rows["arm"] == rows["reference"]].iloc[0]
    said = f"{SHORT[metric]} of {whole['arm']}: {percent(whole['value'])} with the whole recipe"
    others = rows[rows["arm"] != rows["reference"]].sort_values("value", kind="stable")
    ends = others.iloc[[0, -1]] if len(others) > 1 else others
    named = [f"{percent(row['value'])} {row['variant'].replace('_', ' ')}" for row in ends.to_dict("records")]
    return ", ".join([said, *named])


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
