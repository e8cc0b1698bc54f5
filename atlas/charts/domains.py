"""Heatmap of retention by arm and domain after the last checkpoint, domains by size."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import INK, WIDTH, title
from atlas.charts.words import METRIC_NAMES, listed, percent, plural
from atlas.steps import run_step

METRICS = ("recall", "recognition")
ROW_HEIGHT = 28


def draw(tables: Tables) -> alt.VConcatChart:
    """One heatmap a metric."""
    arms, rows = tables.names, shown(tables.retention)
    charts = [panel(rows[rows["metric"] == metric], arms, metric) for metric in METRICS]
    return alt.vconcat(*charts, spacing=26).properties(title=title(finding(rows, arms), subtitle(rows)))


def shown(retention: pd.DataFrame) -> pd.DataFrame:
    """Taught facts after the last checkpoint, by domain; ``label`` names the domain and its size."""
    rows = retention.query("probe == 'taught' and domain != 'all' and metric in @METRICS")
    rows = rows[rows["sessions"] == rows["sessions"].max()]
    sizes = rows.groupby("domain")["n_facts"].max().sort_values(ascending=False, kind="stable")
    size = rows["domain"].map(sizes)
    rows = rows.assign(size=size, label=[f"{d}|{n}" for d, n in zip(rows["domain"], size, strict=True)])
    sorted_rows: pd.DataFrame = rows.sort_values("size", ascending=False, kind="stable")
    return sorted_rows


def panel(rows: pd.DataFrame, arms: Sequence[str], metric: str) -> alt.LayerChart:
    """Cells coloured by value, with the figure in each."""
    labels = list(dict.fromkeys(rows["label"]))
    # padding for two lines: Vega hangs them from the first
    lines = {"labelExpr": "split(datum.label, '|')", "labelLineHeight": 14, "labelPadding": 22}
    axis = alt.Axis(orient="top", labelAngle=0, title=None, **lines)
    base = alt.Chart(rows).encode(
        x=alt.X("label:N", sort=labels, axis=axis),
        y=alt.Y("arm:N", sort=list(arms), title=None),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("domain:N"),
            alt.Tooltip("value:Q", format=".1%"),
            alt.Tooltip("ci_low:Q", format=".1%"),
            alt.Tooltip("ci_high:Q", format=".1%"),
            alt.Tooltip("n_tests:Q", title="facts of all seeds"),
        ],
    )
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.Color("value:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None)
    )
    figures = base.mark_text(fontSize=12).encode(
        text=alt.Text("value:Q", format=".0%"),
        color=alt.condition("datum.value > 0.55", alt.value("white"), alt.value(INK)),
    )
    heading = alt.TitleParams(METRIC_NAMES[metric], fontSize=13, offset=10)
    return (cells + figures).properties(width=WIDTH, height=ROW_HEIGHT * len(arms), title=heading)


def finding(rows: pd.DataFrame, arms: Sequence[str]) -> str:
    """Recall of the first arm in the largest and in the smallest domain."""
    recall = rows[(rows["metric"] == "recall") & (rows["arm"] == arms[0])]
    large, small = recall.iloc[0], recall.iloc[-1]
    if large["domain"] == small["domain"]:
        return f"{arms[0]} recalls {percent(large['value'])} of {large['domain']}, the only domain"
    return (
        f"{arms[0]} recalls {percent(large['value'])} of the largest domain ({large['domain']}), "
        f"{percent(small['value'])} of the smallest ({small['domain']})"
    )


def subtitle(rows: pd.DataFrame) -> list[str]:
    """Checkpoint, seeds, and how much the smallest domains can tell."""
    seeds, sessions = int(rows["n_seeds"].max()), rows["sessions"].iloc[0]
    few = rows.loc[rows["n_tests"] < 30, "domain"].unique()
    sentences = [
        f"Taught facts after {sessions} sessions; {plural(seeds, 'seed')}; below each domain its facts a seed."
    ]
    if len(few):
        sentences.append(f"Fewer than 30 facts in all seeds together, so hardly an estimate: {listed(few)}.")
    return sentences


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
