"""Chart of a base that knows facts already: what it was taught beside and against them, and what is left of others."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from atlas.charts.live import COUNT, NARROW, ROWS, SHARE, TEXT, Figure
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import BLACK, BLUE, RED, WIDTH, share_tips, title
from atlas.charts.words import after, extremes, interval, listed, plural
from atlas.tables.knowledge import CONTRADICTED, KNOWN, UNKNOWN, UNTOUCHED
from atlas.workflow.steps import run_step

ROW_HEIGHT = 34
ASKED = {
    UNKNOWN: ("recall", "taught, unknown before: recall"),
    CONTRADICTED: ("recall", "taught against what it knew: recall"),
    KNOWN: ("recall", "taught, known before: recall"),
    UNTOUCHED: ("answered", "known, never touched: still answered"),
}
"""Kind of fact to the metric that counts for it, and both in words."""

COLOURS = {UNKNOWN: BLUE, CONTRADICTED: RED, KNOWN: "#56b4e9", UNTOUCHED: BLACK}
TABLE = {
    "Arm": ("arm", TEXT),
    "Facts": ("series", TEXT),
    "Value": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Seeds": ("n_seeds", COUNT),
    "Facts a seed": ("n_facts", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One panel a checkpoint, below one another; in each a row an arm, with a dot a kind of fact."""
    rows = headline(tables.knowledge)
    panels = [panel(part, tables.names, first=at == 0) for at, (_, part) in enumerate(rows.groupby("sessions"))]
    return alt.vconcat(*panels, spacing=18).properties(title=title(finding(taught(rows, tables)), subtitle(rows)))


def headline(knowledge: pd.DataFrame) -> pd.DataFrame:
    """Of each kind the facts as they would be taught, by the metric that counts for it."""
    asked = knowledge["probe"] != "rephrase"
    rows = knowledge[asked & (knowledge["metric"] == knowledge["kind"].map(lambda kind: ASKED[kind][0]))]
    return rows.assign(series=rows["kind"].map(lambda kind: ASKED[kind][1])).drop(columns=["contract", "probe"])


def panel(rows: pd.DataFrame, arms: Sequence[str], first: bool) -> alt.LayerChart:
    """One checkpoint."""
    legend = alt.Legend(orient="top", title=None, columns=2, labelLimit=0) if first else None
    heading = alt.TitleParams(after(rows["sessions"].iloc[0]), fontSize=13, offset=6)
    chart = layers(alt.Chart(rows), series_of(rows), arms, legend)
    return chart.properties(width=WIDTH - 120, height=ROW_HEIGHT * rows["arm"].nunique(), title=heading)


def series_of(rows: pd.DataFrame) -> dict[str, str]:
    """Colours by the words of the kinds that there are."""
    return {ASKED[kind][1]: colour for kind, colour in COLOURS.items() if kind in set(rows["kind"])}


def layers(chart: alt.Chart, palette: dict[str, str], arms: Sequence[str], legend: alt.Legend | None) -> alt.LayerChart:
    """Dots with intervals, a kind below the other."""
    scale = alt.Scale(domain=list(palette), range=list(palette.values()))
    base = chart.encode(
        y=alt.Y("arm:N", sort=list(arms), title=None, axis=alt.Axis(labelLimit=150)),
        yOffset=alt.YOffset("series:N", sort=list(palette), scale=alt.Scale(paddingOuter=0.6)),
        color=alt.Color("series:N", scale=scale, legend=legend, sort=list(palette)),
    )
    axis = alt.Axis(format="%", title=None, tickCount=5, labelFlush=False)

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)

    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=2).encode(x=x("ci_low"), x2="ci_high:Q")
    dots = base.mark_point(filled=True, size=50, opacity=1).encode(x=x("value"), tooltip=_tooltip())
    return alt.layer(bars, dots)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("series:N", title="facts"),
        *share_tips("value"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
        alt.Tooltip("n_facts:Q", title="facts a seed"),
    ]


def live(tables: Tables) -> Figure:
    """One checkpoint at a time, whatever metric is chosen: each kind of fact has its own."""
    rows = headline(tables.knowledge)
    legend = alt.Legend(orient="top", title=None, columns=NARROW, labelLimit=0)
    chart = layers(alt.Chart(alt.NamedData(name=ROWS)), series_of(rows), tables.names, legend)
    parts = {at: rows[rows["sessions"] == at] for at in sorted(map(int, set(rows["sessions"])))}
    learned = taught(rows, tables)
    return Figure(
        name="knowledge",
        table="knowledge",
        rows=rows.drop(columns="metric"),
        chart=chart.properties(width="container", height=alt.Step(ROW_HEIGHT / 4)),
        columns=TABLE,
        said={
            ("", at): (f"{finding(learned[learned['sessions'] == at])}.", " ".join(subtitle(part)))
            for at, part in parts.items()
        },
    )


def taught(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The rows of arms that learn: a control that does not keeps all it knew, and that says nothing of teaching."""
    return rows[~rows["arm"].isin(tables.controls["arm"])]


def finding(rows: pd.DataFrame) -> str:
    """What is recalled of unknown facts, and what is left of known ones that were never touched."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    said = [
        extremes(part, words)
        for kind, words in ((UNKNOWN, "recall of unknown facts"), (UNTOUCHED, "known facts still answered"))
        if len(part := last[last["kind"] == kind])
    ]
    return (said and f"{said[0][0].upper()}{said[0][1:]}" + "".join(f"; {more}" for more in said[1:])) or "No facts"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """How many facts there are of each kind, and on how many seeds it rests."""
    return [f"{sample(rows)}; {interval(rows)}."]


def sample(rows: pd.DataFrame) -> str:
    """Seeds, and facts of each kind in one of them."""
    counts = [f"{int(part['n_facts'].max())} {kind}" for kind in COLOURS if len(part := rows[rows["kind"] == kind])]
    return f"{plural(int(rows['n_seeds'].max()), 'seed')} of {listed(counts)} facts"


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
