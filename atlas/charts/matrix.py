"""Chart of the retention matrix: what is left by session and by the age of the facts, one small panel an arm."""

from __future__ import annotations

import math
from collections.abc import Iterator

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import HEADLINE, percent, sentences, span
from atlas.charts.frame import ARM, Block, Chart, Panel, told, up_to
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLUE, WIDTH
from atlas.metrics import REGISTRY
from atlas.tables.intervals import wilson

MOST = 30  # columns: narrower ones could not be told apart
ACROSS = 4  # panels beside each other


def charts(tables: Tables) -> Iterator[Chart]:
    """Cells of a session and a range of ages, the deeper the more is left; on the page up to the sessions chosen."""
    matrix = tables.matrix.rename(columns={"session": "sessions"})
    by_metric = {str(metric): part for metric, part in matrix.groupby("metric", sort=False)}
    rows = pd.concat([banded(part).assign(metric=metric) for metric, part in by_metric.items()], ignore_index=True)
    # what is left may be little everywhere, so the greatest cell of a metric is the deepest
    rows["depth"] = rows["value"] / rows.groupby("metric")["value"].transform("max").clip(lower=0.05)
    pictured = rows[rows["metric"] == HEADLINE]
    side = (WIDTH + 60) / ACROSS - 60
    yield Chart(
        name="matrix",
        rows=rows.astype({"sessions": int, "n": int}),
        marks=lambda panel: squares(panel, max(0.05, pictured["value"].max())),
        blocks=[Block([(arm, pictured[pictured["arm"] == arm]) for arm in tables.names], across=ACROSS)],
        title=finding(by_metric[HEADLINE]),
        subtitle=rests_on(by_metric[HEADLINE]),
        said={
            (metric, sessions): (sentences(finding(part)), " ".join(rests_on(part)))
            for metric, whole in by_metric.items()
            for (_, sessions), part in up_to(whole, tables.retention["sessions"])
        },
        columns=ARM
        | told("count", sessions="After session")
        | told("text", age="Age of the facts")
        | told("share", value="Value")
        | told("count", n="Facts of all seeds"),
        width=side,
        height=side,
        page_height=150,
        gap=18,
        titles={"fontSize": 13, "offset": 6},
        until=True,
        repeat=True,
    )


def squares(panel: Panel, most: float) -> alt.Chart:
    """Sessions to the right, age upwards; cells are as deep as they are great, on a light page and on a dark one.

    ``most`` is the value of the deepest in the picture.
    """
    own = panel.data.transform_filter("datum.own") if panel.live else panel.data
    sessions = sorted(panel.rows["sessions"].unique())
    some = [sessions[int(at)] for at in np.linspace(0, len(sessions) - 1, min(4, len(sessions))).round()]
    ticks = {"labelOverlap": True, "labelSeparation": 6} if panel.live else {"values": some}
    axis = alt.Axis(title=None, labelAngle=0, **ticks)
    legend = panel.legend(
        title="recalled", labelExpr=f"format(datum.value * {most}, '.0%')", symbolType="square", symbolFillColor=BLUE
    )
    scale = alt.Scale(domain=[0, 1], range=[0.07, 1])
    return own.mark_rect(fill=BLUE).encode(
        x=alt.X("sessions:O", axis=axis),
        y=alt.Y("age:O", sort=alt.EncodingSortField("band", order="descending"), axis=alt.Axis(title=None)),
        opacity=alt.Opacity("depth:Q", scale=scale, legend=None if panel.live else legend),
        tooltip=panel.tips,
    )


def banded(matrix: pd.DataFrame) -> pd.DataFrame:
    """Join the ages of an octave (1, 2, 3-4, 5-8, ...), each fact with the same weight; new facts stay apart.

    Sessions after which only the new facts were measured are left out, and if there are too many others, some of these.
    Returns arm, sessions, band (number of the range of ages), age (its name), n and value.
    """
    age = matrix["sessions"] - matrix["session_taught"]
    reach = matrix.groupby("sessions")["session_taught"].nunique()
    whole = reach.index[reach == reach.index]
    shown = [*whole[:: math.ceil(len(whole) / MOST)], whole[-1]]
    rows = matrix.assign(band=np.ceil(np.log2(2 * age.clip(lower=0.5))).astype(int), kept=matrix["value"] * matrix["n"])
    rows = rows[rows["sessions"].isin(shown)]
    cells = rows.groupby(["arm", "sessions", "band"], sort=False)[["n", "kept"]].sum().reset_index()
    return cells.assign(value=cells["kept"] / cells["n"], age=cells["band"].map(name_of)).drop(columns="kept")


def name_of(band: int) -> str:
    """The ages of a band: new, 1, 2, 3-4, 5-8, ..."""
    if band < 3:
        return ("new", "1", "2")[band]
    return f"{2 ** (band - 2) + 1}-{2 ** (band - 1)}"


def finding(matrix: pd.DataFrame) -> list[str]:
    """The metric of the rows right after teaching, and of facts as old as half the run."""
    age = matrix["sessions"] - matrix["session_taught"]
    half = int(matrix["sessions"].max()) // 2
    fresh, old = (_mean(matrix[rows]) for rows in (age == 0, age >= half))
    label = REGISTRY[matrix["metric"].iloc[0]].label
    return [
        f"{label} right after teaching: {percent(fresh)}; {half} or more sessions later: {percent(old)} (mean of arms)"
    ]


def _mean(rows: pd.DataFrame) -> float:
    sums = rows.assign(kept=rows["value"] * rows["n"]).groupby("arm")[["kept", "n"]].sum()
    return float((sums["kept"] / sums["n"]).mean())


def rests_on(matrix: pd.DataFrame) -> list[str]:
    """How to read a cell, and how far it can be believed."""
    cells = banded(matrix)
    fewest = cells.sort_values("n", kind="stable").iloc[0]
    low, high = wilson(float(fewest["value"]), float(fewest["n"]))
    return [
        "To the right: sessions. Upwards: how many sessions ago the facts were taught; the bottom row holds the facts "
        "of that very session. A cell joins its facts of all seeds.",
        f"Cells rest on {cells['n'].min():,} to {cells['n'].max():,} facts; one of the smallest says "
        f"{percent(fewest['value'])}, with a 95% interval of {span(low, high)}. The deepest blue: "
        f"{percent(cells['value'].max())}.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
