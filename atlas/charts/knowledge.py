"""Chart of a base that knows facts already: what it was taught beside and against them, and what is left of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import extremes, interval, last, listed, seeds
from atlas.charts.frame import ARM, BASIS, Block, Chart, Panel, by_checkpoint, cells, horizontal, measured, said, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLACK, BLUE, PLACEBO, RED, WIDTH
from atlas.pool.facts import HOP, NEIGHBOUR, REVERSED
from atlas.tables.knowledge import CONTRADICTED, KNOWN, UNKNOWN, UNTOUCHED

ROW_HEIGHT = 34
ASKED = {
    UNKNOWN: ("recall", "taught, unknown before: recall"),
    CONTRADICTED: ("recall", "taught against what it knew: recall"),
    KNOWN: ("recall", "taught, known before: recall"),
    UNTOUCHED: ("answered", "known, never touched: still answered"),
    NEIGHBOUR: ("answered", "known neighbours: still answered"),
}
"""Kind of fact to the metric that counts for it, and both in words."""

COLOURS = {UNKNOWN: BLUE, CONTRADICTED: RED, KNOWN: "#56b4e9", UNTOUCHED: BLACK, NEIGHBOUR: PLACEBO}


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel a checkpoint; in each a row an arm, with a dot a kind of fact.

    Each kind has its own metric, whichever is chosen on the page.
    """
    rows = headline(tables.knowledge)
    learned = taught(rows, tables)
    yield Chart(
        name="knowledge",
        rows=rows.drop(columns="metric"),
        marks=lambda panel: dots(panel, tables.names),
        blocks=[Block([panel], across=1) for panel in by_checkpoint(rows)],
        title=finding(learned),
        subtitle=rests_on(rows),
        said=said(
            cells(rows.drop(columns="metric")),
            lambda part: finding(learned[learned["sessions"] == part["sessions"].iloc[0]]),
            rests_on,
        ),
        columns=ARM | told("text", series="Facts") | measured() | BASIS,
        width=WIDTH - 120,
        height=ROW_HEIGHT * rows["arm"].nunique(),
        page_height=alt.Step(ROW_HEIGHT / 4),
        titles={"fontSize": 13, "offset": 6},
    )


def headline(knowledge: pd.DataFrame) -> pd.DataFrame:
    """Of each kind the facts as they would be taught, or their neighbours, by the metric that counts for it."""
    asked = ~knowledge["probe"].isin(["rephrase", HOP, REVERSED])
    rows = knowledge[asked & (knowledge["metric"] == knowledge["kind"].map(lambda kind: ASKED[kind][0]))]
    return rows.assign(series=rows["kind"].map(lambda kind: ASKED[kind][1])).drop(columns=["contract", "probe"])


def dots(panel: Panel, arms: Sequence[str]) -> alt.LayerChart:
    """Dots with intervals, a kind below the other."""
    palette = {ASKED[kind][1]: colour for kind, colour in COLOURS.items() if kind in set(panel.rows["kind"])}
    scale = alt.Scale(domain=list(palette), range=list(palette.values()))
    base = panel.data.encode(
        y=alt.Y("arm:N", sort=list(arms), axis=panel.names()),
        yOffset=alt.YOffset("series:N", sort=list(palette), scale=alt.Scale(paddingOuter=0.6)),
        color=alt.Color("series:N", scale=scale, legend=panel.legend(columns=2, labelLimit=0), sort=list(palette)),
    )
    x = horizontal(alt.Axis(format="%", title=None, tickCount=5, labelFlush=False), alt.Scale(domain=[0, 1]))
    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=2)
    points = base.mark_point(filled=True, size=50, opacity=1)
    return alt.layer(bars.encode(x=x("ci_low"), x2="ci_high:Q"), points.encode(x=x("value"), tooltip=panel.tips))


def taught(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The rows of arms that learn: a control that does not keeps all it knew, and that says nothing of teaching."""
    return rows[~rows["arm"].isin(tables.controls["arm"])]


def finding(rows: pd.DataFrame) -> list[str]:
    """What is recalled of unknown facts, and what is left of known ones that were never touched."""
    ended = last(rows)
    shown = {UNKNOWN: "recall of unknown facts", UNTOUCHED: "known facts still answered"}
    shown[NEIGHBOUR] = "known neighbours still answered"
    ranges = [extremes(part, words) for kind, words in shown.items() if len(part := ended[ended["kind"] == kind])]
    text = "; ".join(ranges) or "no facts"
    return [f"{text[0].upper()}{text[1:]}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """How many facts there are of each kind, and on how many seeds it rests."""
    return [f"{sample(rows)}; {interval(rows)}."]


def sample(rows: pd.DataFrame) -> str:
    """Seeds, and facts of each kind in one of them."""
    counts = [f"{int(part['n_facts'].max())} {kind}" for kind in COLOURS if len(part := rows[rows["kind"] == kind])]
    return f"{seeds(rows)} of {listed(counts)} facts"


if __name__ == "__main__":
    picture.step(__doc__, charts)
