"""The retention matrix: recall by session and by the age of the facts, one small panel an arm."""

from __future__ import annotations

import math

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts.live import COUNT, ROWS, SHARE, TEXT, Figure
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import BLUE, WIDTH, title
from atlas.charts.words import SHORT, percent, span
from atlas.tables.intervals import wilson
from atlas.workflow.steps import run_step

METRIC = "recall"
MOST = 30  # columns: narrower ones could not be told apart
COLUMNS = 4  # of panels
TABLE = {
    "Arm": ("arm", TEXT),
    "After session": ("sessions", COUNT),
    "Age of the facts": ("age", TEXT),
    "Value": ("value", SHARE),
    "Facts of all seeds": ("n", COUNT),
}


def draw(tables: Tables) -> alt.ConcatChart:
    """Cells of a session and a range of ages, coloured by recall."""
    matrix = tables.matrix.query("metric == @METRIC")
    cells = banded(matrix)
    # recall may be small everywhere, so the scale ends at the largest cell
    colour = alt.Scale(scheme="blues", domain=[0, max(0.05, cells["value"].max())], nice=True)
    panels = [panel(cells[cells["arm"] == arm], arm, colour) for arm in tables.names]
    return alt.concat(*panels, columns=COLUMNS, spacing=18).properties(title=title(finding(matrix), subtitle(cells)))


def panel(cells: pd.DataFrame, arm: str, colour: alt.Scale) -> alt.Chart:
    """The matrix of one arm: sessions to the right, age upwards."""
    side = (WIDTH + 60) / COLUMNS - 60
    sessions = sorted(cells["session"].unique())
    ages = cells.sort_values("band", ascending=False)["age"].unique().tolist()
    shown = [sessions[i] for i in np.linspace(0, len(sessions) - 1, min(4, len(sessions))).round().astype(int)]
    legend = alt.Legend(orient="top", format="%", title="recalled", gradientLength=160)
    return (
        alt.Chart(cells, title=alt.TitleParams(arm, fontSize=13, offset=6))
        .mark_rect()
        .encode(
            x=alt.X("session:O", title=None, sort=sessions, axis=alt.Axis(values=shown, labelAngle=0)),
            y=alt.Y("age:O", title=None, sort=ages),
            color=alt.Color("value:Q", scale=colour, legend=legend),
            tooltip=["session:Q", "age:O", alt.Tooltip("value:Q", format=".1%"), "n:Q"],
        )
        .properties(width=side, height=side)
    )


def banded(matrix: pd.DataFrame) -> pd.DataFrame:
    """Join the ages of an octave (1, 2, 3-4, 5-8, ...), each fact with the same weight; new facts stay apart.

    Sessions after which only the new facts were measured are left out, and if there are too many others, some of these.
    Returns arm, session, band (number of the range of ages), age (its name), n and value.
    """
    age = matrix["session"] - matrix["session_taught"]
    reach = matrix.groupby("session")["session_taught"].nunique()
    whole = reach.index[reach == reach.index]
    shown = [*whole[:: math.ceil(len(whole) / MOST)], whole[-1]]
    rows = matrix.assign(band=np.ceil(np.log2(2 * age.clip(lower=0.5))).astype(int), kept=matrix["value"] * matrix["n"])
    rows = rows[rows["session"].isin(shown)]
    cells = rows.groupby(["arm", "session", "band"], sort=False)[["n", "kept"]].sum().reset_index()
    return cells.assign(value=cells["kept"] / cells["n"], age=cells["band"].map(name_of)).drop(columns="kept")


def name_of(band: int) -> str:
    """The ages of a band: new, 1, 2, 3-4, 5-8, ..."""
    if band < 3:
        return ("new", "1", "2")[band]
    return f"{2 ** (band - 2) + 1}-{2 ** (band - 1)}"


def live(tables: Tables) -> Figure:
    """One metric at a time, up to the sessions that are chosen; the deepest blue is the greatest cell of a metric."""
    matrix = tables.matrix
    parts = [banded(part).assign(metric=metric) for metric, part in matrix.groupby("metric", sort=False)]
    rows = pd.concat(parts, ignore_index=True).rename(columns={"session": "sessions"})
    rows["depth"] = rows["value"] / rows.groupby("metric")["value"].transform("max").clip(lower=0.05)
    metrics = [str(metric) for metric in dict.fromkeys(rows["metric"])]
    reached = {sessions: matrix[matrix["session"] <= sessions] for sessions in set(tables.retention["sessions"])}
    return Figure(
        name="matrix",
        table="matrix",
        rows=rows.astype({"sessions": int, "n": int}),
        chart=small(),
        columns=TABLE,
        said={(m, int(s)): _said(part[part["metric"] == m], m) for s, part in reached.items() for m in metrics},
        until=True,
        repeat=True,
    )


def small() -> alt.Chart:
    """The matrix of one arm for the page; cells are as deep as they are great, on a light page and on a dark one."""
    chart = alt.Chart(alt.NamedData(name=ROWS)).transform_filter("datum.own").mark_rect(fill=BLUE)
    axis = alt.Axis(title=None, labelAngle=0, labelOverlap=True, labelSeparation=6)
    return chart.encode(
        x=alt.X("sessions:O", axis=axis),
        y=alt.Y("age:O", sort=alt.EncodingSortField("band", order="descending"), axis=alt.Axis(title=None)),
        fillOpacity=alt.FillOpacity("depth:Q", scale=alt.Scale(domain=[0, 1], range=[0.07, 1]), legend=None),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("sessions:Q", title="after session"),
            alt.Tooltip("age:O", title="age in sessions"),
            alt.Tooltip("value:Q", format=".1%"),
            alt.Tooltip("n:Q", title="facts of all seeds"),
        ],
    ).properties(width="container", height=150)


def _said(matrix: pd.DataFrame, metric: str) -> tuple[str, str]:
    cells = banded(matrix)
    how = " ".join(subtitle(cells))
    return f"{finding(matrix, metric)}.", f"{how} The deepest blue of this metric: {percent(cells['value'].max())}."


def finding(matrix: pd.DataFrame, metric: str = METRIC) -> str:
    """A metric right after teaching, and of facts as old as half the run."""
    age = matrix["session"] - matrix["session_taught"]
    half = int(matrix["session"].max()) // 2
    fresh, old = (_mean(matrix[rows]) for rows in (age == 0, age >= half))
    return (
        f"{SHORT[metric]} right after teaching: {percent(fresh)}; {half} or more sessions later: {percent(old)} "
        "(mean of arms)"
    )


def _mean(rows: pd.DataFrame) -> float:
    sums = rows.assign(kept=rows["value"] * rows["n"]).groupby("arm")[["kept", "n"]].sum()
    return float((sums["kept"] / sums["n"]).mean())


def subtitle(cells: pd.DataFrame) -> list[str]:
    """How to read a cell, and how far it can be believed."""
    fewest = cells.sort_values("n", kind="stable").iloc[0]
    low, high = wilson(float(fewest["value"]), float(fewest["n"]))
    return [
        "To the right: sessions. Upwards: how many sessions ago the facts were taught; the bottom row holds the facts "
        "of that very session. A cell joins its facts of all seeds.",
        f"Cells rest on {cells['n'].min():,} to {cells['n'].max():,} facts; one of the smallest says "
        f"{percent(fewest['value'])}, with a 95% interval of {span(low, high)}.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
