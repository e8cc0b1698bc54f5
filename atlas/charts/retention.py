"""Chart of retention: by arm, metric and checkpoint, with the placebo and the essay's figures beside it."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts import dots
from atlas.charts.dots import ESSAY, SERIES, Look, dressed, panels
from atlas.charts.live import Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import colours, title
from atlas.charts.words import METRIC_NAMES, SHORT, after, basis, extremes, placebo_warning, sentences
from atlas.tables.ledger import retention_figures
from atlas.workflow.steps import run_step

METRICS = ("recall", "ranked", "recognition")
ESSAY_METRIC = "recognition"  # what the essay's retention is read as


def draw(tables: Tables) -> alt.VConcatChart:
    """One row of panels a metric, one column a checkpoint."""
    palette = colours(tables.names)
    rows = tables.retention.query("domain == 'all' and metric in @METRICS")
    shown = dressed(rows)
    published = essay_rows(shown)
    both = pd.concat([shown, published])
    look = Look("arm", list(palette), palette, series=series_of(both))
    charts = [panels(both[both["metric"] == metric], look, METRIC_NAMES[metric]) for metric in METRICS]
    return alt.vconcat(*charts, spacing=30).properties(title=title(finding(rows), subtitle(rows, published)))


def live(tables: Tables) -> Figure:
    """One metric and checkpoint at a time, arms from top to bottom."""
    rows, palette = live_rows(tables), colours(tables.names)
    whole = rows[(rows["domain"] == "all") & (rows["series"] != ESSAY)]
    return Figure(
        name="retention",
        table="retention",
        rows=rows,
        chart=dots.alive(Look("arm", list(palette), palette, series=series_of(rows))),
        columns=dots.COLUMNS,
        said={
            cell: (sentences(said(part)), f"{basis(part[part['probe'] == 'taught'])}.") for cell, part in cells(whole)
        },
        where={"domain": ["all"]},
    )


def live_rows(tables: Tables) -> pd.DataFrame:
    """The table as the page has it: of single domains only facts as taught, and the essay's figures."""
    rows = dressed(tables.retention)
    rows = rows[(rows["domain"] == "all") | (rows["probe"] == "taught")]
    columns = ["arm", "sessions", "probe", "series", "metric", "domain", "n_seeds", "n_facts", "n_tests", "value"]
    joined = pd.concat([rows, essay_rows(rows[rows["domain"] == "all"])], ignore_index=True)
    return joined[[*columns, "ci_low", "ci_high", "placebo"]]


def essay_rows(shown: pd.DataFrame) -> pd.DataFrame:
    """The essay's figures for the cells that are shown, dressed as its marks; none where the study has others."""
    some = shown.loc[shown["metric"] == ESSAY_METRIC, ["arm", "sessions", "probe", "metric", "panel", "domain"]]
    figures = retention_figures().query("domain == 'all'")[["arm", "sessions", "probe", "value"]]
    return some.merge(figures, on=["arm", "sessions", "probe"]).assign(series=ESSAY)


def series_of(rows: pd.DataFrame) -> list[str]:
    """The series of the legend: the essay's figures only where there are any."""
    return [*SERIES.values(), *([ESSAY] if ESSAY in set(rows["series"]) else [])]


def finding(rows: pd.DataFrame) -> list[str]:
    """Recall of what was taught after the last checkpoint, and what the placebo says about recognition."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    recall, recognition = (said(last[last["metric"] == metric]) for metric in ("recall", "recognition"))
    return [recall[0], recognition[-1]]


def said(rows: pd.DataFrame) -> list[str]:
    """What the rows of one metric and checkpoint show: the range over arms, and the placebo beside it."""
    metric, sessions = rows["metric"].iloc[0], rows["sessions"].iloc[0]
    taught, placebo = rows[rows["probe"] == "taught"], rows[rows["probe"] == "placebo"]
    range_ = extremes(taught, f"{SHORT[metric]} {after(sessions)}")
    if placebo.empty:
        return [range_]
    return [range_, placebo_warning(placebo) if metric == "recognition" else extremes(placebo, "Facts never taught")]


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
