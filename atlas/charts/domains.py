"""Retention by arm and domain after the last checkpoint, domains by size: a figure and its interval in every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from atlas.charts.dots import dressed
from atlas.charts.live import COUNT, ROWS, SHARE, TEXT, Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.retention import live_rows
from atlas.charts.tables import Tables
from atlas.charts.theme import BLUE, INK, PAPER, WIDTH, title
from atlas.charts.words import METRIC_NAMES, SHORT, listed, percent, plural
from atlas.workflow.steps import run_step

METRICS = ("recall", "recognition")
ROW_HEIGHT = 32
FEW = 30  # facts of all seeds together, below which a cell is hardly an estimate
TABLE = {
    "Arm": ("arm", TEXT),
    "Domain": ("domain", TEXT),
    "Value": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Placebo": ("placebo", SHARE),
    "Facts a seed": ("n_facts", COUNT),
    "Seeds": ("n_seeds", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One block of cells a metric."""
    arms, rows = tables.names, shown(tables.retention)
    columns = sizes(rows)
    charts = [
        layers(alt.Chart(rows[rows["metric"] == metric]), arms, columns).properties(
            width=WIDTH,
            height=ROW_HEIGHT * len(arms),
            title=alt.TitleParams(METRIC_NAMES[metric], fontSize=13, offset=10),
        )
        for metric in METRICS
    ]
    return alt.vconcat(*charts, spacing=26).properties(title=title(finding(rows, arms), subtitle(rows)))


def shown(retention: pd.DataFrame) -> pd.DataFrame:
    """Taught facts after the last checkpoint, by domain."""
    rows = dressed(retention.query("domain != 'all' and metric in @METRICS"))
    last: pd.DataFrame = rows[(rows["probe"] == "taught") & (rows["sessions"] == rows["sessions"].max())]
    return last


def sizes(rows: pd.DataFrame) -> dict[str, int]:
    """Domains from large to small, with the facts of a seed."""
    found: pd.Series[int] = rows.groupby("domain")["n_facts"].max().sort_values(ascending=False, kind="stable")
    return {str(domain): int(n) for domain, n in found.items()}


def layers(chart: alt.Chart, arms: Sequence[str], columns: Mapping[str, int], narrow: bool = False) -> alt.LayerChart:
    """A cell for each arm and domain: the deeper, the more; the figure; below it the interval from 0 to 100%.

    ``narrow`` is for the page, whose columns may be too narrow for words side by side. Cells stand on a scale of
    numbers, one a domain, so that an interval can be drawn inside a cell.
    """
    domains = list(columns)
    labels = [f"{domain}|{n}" if not narrow else domain for domain, n in columns.items()]
    axis = alt.Axis(
        orient="top",
        values=[place + 0.5 for place in range(len(domains))],
        labelExpr=f"split({labels}[floor(datum.value)], '|')",
        labelLineHeight=14,
        labelPadding=6 if narrow else 22,
        labelAngle=alt.ExprRef("width < 480 ? -55 : 0") if narrow else 0,
        labelAlign=alt.ExprRef("width < 480 ? 'left' : 'center'") if narrow else "center",
        ticks=False,
        domain=False,
        grid=False,
        title=None,
        labelOverlap=False,
    )
    scale = alt.Scale(domain=[0, len(domains)], nice=False)
    at = chart.transform_calculate(place=f"indexof({domains}, datum.domain)").transform_calculate(
        end="datum.place + 1",
        middle="datum.place + 0.5",
        low="datum.place + 0.08 + 0.84 * datum.ci_low",
        high="datum.place + 0.08 + 0.84 * datum.ci_high",
        dot="datum.place + 0.08 + 0.84 * datum.value",
        never="datum.place + 0.08 + 0.84 * datum.placebo",
        depth="clamp(datum.value, 0, 1)",
    )
    base = at.encode(y=alt.Y("arm:N", sort=list(arms), title=None, axis=alt.Axis(labelLimit=150)))

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", axis=axis, scale=scale)

    tint = alt.FillOpacity("depth:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 0.62]), legend=None)
    rects = base.mark_rect(fill=BLUE, stroke=PAPER, strokeWidth=2).encode(
        x=x("place"), x2="end:Q", fillOpacity=tint, tooltip=_tooltip()
    )
    ink = base.encode(tooltip=_tooltip())
    figures = ink.mark_text(fontSize=11, dy=-5, color=INK).encode(x=x("middle"), text=alt.Text("value:Q", format=".0%"))
    whiskers = ink.mark_rule(strokeWidth=1.5, color=INK, yOffset=9).encode(x=x("low"), x2="high:Q")
    ticks = ink.mark_point(shape="circle", filled=True, size=16, color=INK, opacity=1, yOffset=9).encode(x=x("dot"))
    known = ink.transform_filter("isValid(datum.placebo)")
    never = known.mark_point(shape="square", size=22, color=INK, strokeWidth=1, opacity=1, yOffset=9).encode(
        x=x("never")
    )
    return alt.layer(rects, whiskers, never, ticks, figures)


def _tooltip() -> list[alt.Tooltip]:
    shares = {"value": "value", "ci_low": "95% interval from", "ci_high": "to", "placebo": "never taught (placebo)"}
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("domain:N"),
        *(alt.Tooltip(f"{name}:Q", format=".1%", title=title) for name, title in shares.items()),
        alt.Tooltip("n_facts:Q", title="facts a seed"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]


def live(tables: Tables) -> Figure:
    """The cells of one metric and checkpoint."""
    rows = live_rows(tables)
    mine = rows[(rows["domain"] != "all") & (rows["probe"] == "taught")]
    columns, arms = sizes(mine), tables.names
    chart = layers(alt.Chart(alt.NamedData(name=ROWS)), arms, columns, narrow=True)
    return Figure(
        name="domains",
        table="retention",
        rows=rows,
        chart=chart.properties(width="container", height=alt.Step(ROW_HEIGHT)),
        columns=TABLE,
        said={
            cell: (f"After {plural(cell[1], 'session')}: {spread(part, arms, cell[0])}.", " ".join(subtitle(part)))
            for cell, part in cells(mine)
        },
        where={"domain": list(columns), "probe": ["taught"]},
    )


def finding(rows: pd.DataFrame, arms: Sequence[str]) -> str:
    """Recall of the first arm in the largest and in the smallest domain."""
    return spread(rows, arms, "recall")


def spread(rows: pd.DataFrame, arms: Sequence[str], metric: str) -> str:
    """One metric of the first arm in the largest and in the smallest domain, each with its interval."""
    mine = rows[(rows["metric"] == metric) & (rows["arm"] == arms[0])].set_index("domain")["value"].to_dict()
    domains = [domain for domain in sizes(rows) if domain in mine]
    large, small = domains[0], domains[-1]
    said = {domain: f"{percent(mine[domain])} of {domain}" for domain in (large, small)}
    if large == small:
        return f"{SHORT[metric]} of {arms[0]}: {said[large]}, the only domain"
    return f"{SHORT[metric]} of {arms[0]}: {said[large]}, the largest domain; {said[small]}, the smallest"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """Checkpoint, seeds, intervals, and how much the smallest domains can tell."""
    seeds, sessions = int(rows["n_seeds"].max()), rows["sessions"].iloc[0]
    few = rows.loc[rows["n_tests"] < FEW, "domain"].unique()
    sentences = [
        f"Taught facts after {plural(sessions, 'session')}; {plural(seeds, 'seed')}; below each domain its "
        "facts a seed; the line in a cell is the 95% interval, from 0% at its left end to 100% at its right, the "
        "square facts never taught."
    ]
    if len(few):
        sentences.append(f"Fewer than {FEW} facts in all seeds together, so hardly an estimate: {listed(few)}.")
    return sentences


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
