"""Dots with intervals: taught, rephrased and placebo facts of each arm or recipe, one panel a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from atlas.charts.theme import INK, PLACEBO, WIDTH

ESSAY = "the essay's figure"
SERIES = {"taught": "taught", "rephrase": "rephrased", "placebo": "never taught (placebo)"}
SHAPES = {
    "taught": "circle",
    "rephrased": "diamond",
    "never taught (placebo)": "square",
    ESSAY: "M-.8,-.8L.8,.8M-.8,.8L.8,-.8",  # a thin cross; SVG path in a box from -1 to 1
}
LEGEND = alt.Legend(orient="top", symbolFillColor="white", symbolStrokeColor=INK, symbolStrokeWidth=1.5)
ROW_HEIGHT = 32  # three dots, one below the other


def dressed(rows: pd.DataFrame, colours: pd.Series) -> pd.DataFrame:
    """Add how each row looks: series (its shape and its place in the legend), colour, fill and panel."""
    taught = rows["probe"] == "taught"
    colour = colours.where(rows["probe"] != "placebo", PLACEBO)
    return rows.assign(
        series=rows["probe"].map(SERIES),
        colour=colour,
        fill=colour.where(taught, "white"),
        panel=[f"after {sessions} sessions" for sessions in rows["sessions"]],
    )


def panels(
    rows: pd.DataFrame, y: str, order: Sequence[str], heading: str, series: Sequence[str] = tuple(SERIES.values())
) -> alt.FacetChart:
    """One panel a checkpoint, side by side.

    ``y`` names the column of the rows and ``order`` its values from top to bottom. ``series`` must be the same for
    all charts that share a legend.
    """
    columns = list(dict.fromkeys(rows.sort_values("sessions")["panel"]))
    place = {
        "y": alt.Y(f"{y}:N", sort=list(order), title=None, axis=_names(order)),
        "yOffset": alt.YOffset("probe:N", sort=list(SERIES), scale=alt.Scale(paddingOuter=0.6)),
    }
    percent = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title=None, labelFlush=False)
    base = alt.Chart(rows).encode(**place)
    scale = alt.Scale(domain=[-0.03, 1.03], nice=False)  # room for dots at both ends
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("ci_low:Q", axis=percent, scale=scale), x2="ci_high:Q", color=alt.Color("colour:N", scale=None)
    )
    # hollow dots are white, not empty, so that their own bar does not run through them
    dots = base.mark_point(size=46, strokeWidth=1.8, opacity=1).encode(
        x=alt.X("value:Q", axis=percent, scale=scale),
        shape=alt.Shape("series:N", scale=_shapes(series), title=None, legend=LEGEND),
        color=alt.Color("colour:N", scale=None),
        fill=alt.Fill("fill:N", scale=None),
        tooltip=[
            alt.Tooltip(f"{y}:N"),
            alt.Tooltip("series:N"),
            alt.Tooltip("value:Q", format=".1%"),
            alt.Tooltip("ci_low:Q", format=".1%"),
            alt.Tooltip("ci_high:Q", format=".1%"),
            alt.Tooltip("n_seeds:Q"),
            alt.Tooltip("n_facts:Q"),
        ],
    )
    panel = alt.layer(bars, dots).properties(width=WIDTH / len(columns) - 20, height=ROW_HEIGHT * len(order))
    return panel.facet(column=alt.Column("panel:N", sort=columns), title=_heading(heading), spacing=28)


def _heading(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, fontSize=13, fontWeight=600, offset=6)


def _names(order: Sequence[str]) -> alt.Axis:
    """The axis of names, as wide in every chart of a stack, so that their panels stand below each other."""
    return alt.Axis(minExtent=round(6.8 * max(map(len, order))) + 12)


def _shapes(series: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=list(series), range=[SHAPES[name] for name in series])
