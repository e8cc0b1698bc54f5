"""Chart of retention: by arm, metric and checkpoint, with the placebo and the essay's figures beside it."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts.dots import ESSAY, SERIES, dressed, panels
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import INK, colours, title
from atlas.charts.words import METRIC_NAMES, basis, extremes, placebo_warning
from atlas.steps import run_step
from atlas.tables.essay import retention_figures

METRICS = ("recall", "ranked", "recognition")
ESSAY_METRIC = "recognition"  # what the essay's retention is read as


def draw(tables: Tables) -> alt.VConcatChart:
    """One row of panels a metric, one column a checkpoint."""
    arms = tables.names
    rows = tables.retention.query("domain == 'all' and metric in @METRICS")
    shown = dressed(rows, rows["arm"].map(colours(arms)))
    published = essay_rows(shown)
    charts = [
        panels(
            pd.concat([shown[shown["metric"] == metric], published[published["metric"] == metric]]),
            "arm",
            arms,
            METRIC_NAMES[metric],
            [*SERIES.values(), *([ESSAY] if len(published) else [])],
        )
        for metric in METRICS
    ]
    return alt.vconcat(*charts, spacing=30).properties(title=title(finding(rows), subtitle(rows, published)))


def essay_rows(shown: pd.DataFrame) -> pd.DataFrame:
    """The essay's figures for the cells that are shown, dressed as its marks; none where the study has others."""
    cells = shown.loc[shown["metric"] == ESSAY_METRIC, ["arm", "sessions", "probe", "metric", "panel"]]
    figures = retention_figures().query("domain == 'all'")[["arm", "sessions", "probe", "value"]]
    return cells.merge(figures, on=["arm", "sessions", "probe"]).assign(series=ESSAY, colour=INK, fill="white")


def finding(rows: pd.DataFrame) -> list[str]:
    """Recall of what was taught after the last checkpoint, and what the placebo says about recognition."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    recall = last.query("probe == 'taught' and metric == 'recall'")
    placebo = last.query("probe == 'placebo' and metric == 'recognition'")
    return [extremes(recall, f"Recall after {last['sessions'].iloc[0]} sessions"), placebo_warning(placebo)]


def subtitle(rows: pd.DataFrame, published: pd.DataFrame) -> list[str]:
    """Seeds, facts, intervals, and how the essay's figures are read."""
    sentences = [basis(rows[rows["probe"] == "taught"]) + "."]
    if len(published):
        sentences.append("The essay's retention is read as recognition; it rests on one seed.")
    return sentences


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
