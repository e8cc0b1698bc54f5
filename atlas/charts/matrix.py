"""The retention matrix: recall by session and by the age of the facts, one small panel an arm."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import WIDTH, title
from atlas.charts.words import percent
from atlas.steps import run_step

METRIC = "recall"
BINS = 20  # at most so many along each side: finer cells would rest on next to no facts
COLUMNS = 3


def draw(tables: Tables) -> alt.ConcatChart:
    """Cells of several sessions and ages, coloured by recall."""
    matrix = tables.matrix.query("metric == @METRIC")
    last = int(matrix["session"].max())
    step = math.ceil(last / BINS)
    cells = binned(matrix, step)
    # recall may be small everywhere, so the scale ends at the largest cell
    colour = alt.Scale(scheme="blues", domain=[0, max(0.05, cells["value"].max())], nice=True)
    panels = [
        panel(cells[cells["arm"] == arm], arm, step, math.ceil(last / step) * step, colour) for arm in tables.names
    ]
    return alt.concat(*panels, columns=COLUMNS, spacing=18).properties(title=title(finding(matrix), subtitle(step)))


def panel(cells: pd.DataFrame, arm: str, step: int, last: int, colour: alt.Scale) -> alt.Chart:
    """The matrix of one arm: time to the right, age upwards, fresh facts in a row of their own."""
    side = WIDTH / COLUMNS - 45
    marks = range(max(1, last // 4), last + 1, max(1, last // 4))
    sessions = alt.Axis(grid=False, values=list(marks))
    ages = alt.Axis(grid=False, values=[-step / 2, *marks], labelExpr="datum.value < 0 ? 'new' : datum.label")
    legend = alt.Legend(orient="top", format="%", title="recalled", gradientLength=160)
    return (
        alt.Chart(cells, title=alt.TitleParams(arm, fontSize=13, offset=6))
        .mark_rect()
        .encode(
            x=alt.X("session:Q", title="session", scale=alt.Scale(domain=[0, last], nice=False), axis=sessions),
            x2="session_end:Q",
            y=alt.Y("age:Q", title="age in sessions", scale=alt.Scale(domain=[-step, last], nice=False), axis=ages),
            y2="age_end:Q",
            color=alt.Color("value:Q", scale=colour, legend=legend),
            tooltip=["session:Q", "age:Q", alt.Tooltip("value:Q", format=".1%"), "n:Q"],
        )
        .properties(width=side, height=side)
    )


def binned(matrix: pd.DataFrame, step: int) -> pd.DataFrame:
    """Join cells of ``step`` sessions by ``step`` ages, each fact with the same weight.

    Fresh facts (age 0) keep a row of their own, below zero: joined with older ones, their recall would not be seen.
    Returns arm, session, session_end, age, age_end (edges of the cell), n and value.
    """
    frame = matrix.assign(
        session=(matrix["session"] - 1) // step * step,
        age=(matrix["session"] - matrix["session_taught"] - 1) // step * step,
        kept=matrix["value"] * matrix["n"],
    )
    cells = frame.groupby(["arm", "session", "age"], sort=False)[["n", "kept"]].sum().reset_index()
    return cells.assign(
        value=cells["kept"] / cells["n"], session_end=cells["session"] + step, age_end=cells["age"] + step
    ).drop(columns="kept")


def finding(matrix: pd.DataFrame) -> str:
    """Recall right after teaching, and of facts as old as half the run."""
    age = matrix["session"] - matrix["session_taught"]
    half = int(matrix["session"].max()) // 2
    fresh, old = (_mean(matrix[rows]) for rows in (age == 0, age >= half))
    return (
        f"Recalled right after teaching: {percent(fresh)}; {half} or more sessions later: {percent(old)} (mean of arms)"
    )


def _mean(rows: pd.DataFrame) -> float:
    sums = rows.assign(kept=rows["value"] * rows["n"]).groupby("arm")[["kept", "n"]].sum()
    return float((sums["kept"] / sums["n"]).mean())


def subtitle(step: int) -> list[str]:
    """How to read a cell."""
    cell = f"{step} sessions and {step} ages" if step > 1 else "one session and one age"
    return [
        "Each column is a moment of the study, each row how long ago the facts were taught; the bottom row holds "
        f"the facts of that very session, the diagonal the first facts. A cell joins {cell}, all seeds.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
