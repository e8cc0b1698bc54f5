"""Chart of retention as teaching goes on: the share of all facts taught so far, with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import WIDTH, colours, title
from atlas.charts.words import METRIC_NAMES, extremes, plural
from atlas.steps import run_step

HEIGHT, LABEL_HEIGHT = 280, 15  # of a panel and of a label, in pixels
LABEL_ROOM = 130  # to the right of the lines
SESSIONS = alt.Axis(grid=False, tickMinStep=1, format="d")


def draw(tables: Tables) -> alt.VConcatChart:
    """One panel a metric; each line carries the name of its arm."""
    rows, arms = tables.curve, tables.names
    placebo = tables.retention.query("domain == 'all' and probe == 'placebo'").rename(columns={"sessions": "session"})
    charts = [
        panel(rows[rows["metric"] == metric], placebo[placebo["metric"] == metric], arms, metric)
        for metric in dict.fromkeys(rows["metric"])
    ]
    return alt.vconcat(*charts, spacing=28).properties(title=title(finding(rows), subtitle(rows)))


def panel(rows: pd.DataFrame, placebo: pd.DataFrame, arms: Sequence[str], metric: str) -> alt.LayerChart:
    """Lines with bands, names at their right ends, squares for facts never taught."""
    last = rows["session"].max()
    low, high = limits(np.concatenate([rows["value"], placebo["value"]]))
    x = alt.X("session:Q", title="sessions", scale=alt.Scale(domain=[0, last], nice=False), axis=SESSIONS)
    y = {"axis": alt.Axis(format="%", tickCount=5, title=None), "scale": alt.Scale(domain=[low, high], nice=False)}
    colour = alt.Color("arm:N", scale=alt.Scale(domain=list(arms), range=list(colours(arms).values())), legend=None)
    base = alt.Chart(rows).encode(x=x, color=colour)
    # the first sessions rest on a handful of facts: their bands may leave the frame
    bands = base.mark_area(opacity=0.12, clip=True).encode(y=alt.Y("ci_low:Q", **y), y2="ci_high:Q")
    lines = base.mark_line(strokeWidth=2).encode(y=alt.Y("value:Q", **y))
    never = alt.Chart(placebo).mark_point(shape="square", size=50, fill="white", fillOpacity=0.8, opacity=1)
    squares = never.encode(x=x, y=alt.Y("value:Q", **y), color=colour)
    ends = rows[rows["session"] == last]
    gap = (high - low) * LABEL_HEIGHT / HEIGHT
    named = ends.assign(place=low + spread(ends["value"].to_numpy() - low, gap, high - low))
    layers = [bands, lines, squares, *names(alt.Chart(named).encode(color=colour), y)]
    heading = alt.TitleParams(METRIC_NAMES[metric], fontSize=13, offset=8, frame="group")
    return alt.layer(*layers).properties(width=WIDTH - LABEL_ROOM, height=HEIGHT, title=heading)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Ends of the scale: from 0, unless all values lie high; lines need no zero to be read."""
    top = min(1.0, max(0.05, 1.1 * values.max()))
    bottom = np.floor(10 * values.min()) / 10
    return (float(bottom) if bottom >= 0.5 else 0.0), float(top)


def names(chart: alt.Chart, y: dict[str, Any]) -> tuple[alt.Chart, alt.Chart]:
    """Names of the arms to the right of the frame, each with a lead to the end of its line."""
    right = WIDTH - LABEL_ROOM
    leads = chart.mark_rule(strokeWidth=1, opacity=0.6).encode(
        x=alt.value(right + 4), x2=alt.value(right + 16), y=alt.Y("value:Q", **y), y2="place:Q"
    )
    texts = chart.mark_text(align="left", fontSize=12, fontWeight=600).encode(
        x=alt.value(right + 20), y=alt.Y("place:Q", **y), text="arm:N"
    )
    return leads, texts


def spread(values: np.ndarray, gap: float, top: float) -> np.ndarray:
    """Places for labels, near ``values`` and in their order, at least ``gap`` apart, from 0 to ``top`` if they fit.

    Both arrays have shape (labels,). Pushed up from below, then down from the top where that went too far.
    """
    order = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(values))
    up = np.maximum.accumulate(values[order] - steps) + steps
    ceiling = np.maximum(top, gap * (len(values) - 1)) - steps[::-1]
    places = np.empty(len(values))
    places[order] = np.minimum(up, ceiling)
    return places


def finding(rows: pd.DataFrame) -> str:
    """How much of all that was taught is recalled at the end."""
    last = rows[(rows["session"] == rows["session"].max()) & (rows["metric"] == "recall")]
    return extremes(last, f"Still recalled after {last['session'].iloc[0]} sessions")


def subtitle(rows: pd.DataFrame) -> list[str]:
    """What a point of the lines is, seeds, facts and intervals."""
    seeds, facts = int(rows["n_seeds"].max()), int(rows["n_facts"].max())
    band = "95% interval over seeds and facts" if seeds > 1 else "95% interval over facts (one seed)"
    return [
        f"Share of all facts taught so far, tested as teaching goes on; {plural(seeds, 'seed')}, "
        f"{plural(facts, 'fact')} at the end.",
        f"Bands: {band}. Squares: facts never taught (placebo), at the checkpoints.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
