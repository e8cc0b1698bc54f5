"""Dots with intervals: taught, rephrased and placebo facts of each arm or recipe, one panel a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from atlas.charts.live import COUNT, NARROW, ROWS, SHARE, TEXT
from atlas.charts.theme import INK, PAPER, PLACEBO, WIDTH
from atlas.charts.words import after

ESSAY = "the essay's figure"
NEVER, HOLLOW = "never taught (placebo)", "hollow"
SERIES = {"taught": "taught", "rephrase": "rephrased", "placebo": NEVER}
SHAPES = {
    "taught": "circle",
    "rephrased": "diamond",
    NEVER: "square",
    ESSAY: "M-.8,-.8L.8,.8M-.8,.8L.8,-.8",  # a thin cross; SVG path in a box from -1 to 1
}
ROW_HEIGHT = 32  # three dots, one below the other
COLUMNS = {
    "Arm": ("arm", TEXT),
    "Facts": ("series", TEXT),
    "Value": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Placebo": ("placebo", SHARE),
    "Seeds": ("n_seeds", COUNT),
    "Facts a seed": ("n_facts", COUNT),
}
"""What the table below an interactive chart shows."""


def dressed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the series of each row (its shape and its place in the legend), its panel, and the placebo beside it."""
    cell = ["arm", "sessions", "metric", "domain"]
    placebo = rows[rows["probe"] == "placebo"].set_index(cell)["value"].rename("placebo")
    return rows.assign(
        series=rows["probe"].map(SERIES),
        panel=[after(sessions) for sessions in rows["sessions"]],
    ).join(placebo, on=cell)


@dataclass(frozen=True)
class Look:
    """What the rows are, from top to bottom, and which colours they have.

    ``series`` and ``palette`` must be the same for all charts that are stacked.
    """

    y: str  # column with the names of the rows
    order: Sequence[str]  # these names
    palette: Mapping[str, str]
    hue: str = "arm"  # column that decides the colour
    series: Sequence[str] = tuple(SERIES.values())

    @property
    def colours(self) -> alt.Scale:
        """The colours of the arms, the placebo's grey, ink for the essay's figures, and paper inside hollow dots."""
        all_of_them = {**self.palette, NEVER: PLACEBO, ESSAY: INK, HOLLOW: PAPER}
        return alt.Scale(domain=list(all_of_them), range=list(all_of_them.values()))

    @property
    def shapes(self) -> alt.Scale:
        return alt.Scale(domain=list(self.series), range=[SHAPES[name] for name in self.series])


def panels(rows: pd.DataFrame, look: Look, heading: str) -> alt.FacetChart:
    """One panel a checkpoint, side by side."""
    columns = list(dict.fromkeys(rows.sort_values("sessions")["panel"]))
    percent = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title=None, labelFlush=False)
    x = alt.X(axis=percent, scale=alt.Scale(domain=[-0.03, 1.03], nice=False))  # room for dots at both ends
    # as wide in every chart of a stack, so that their panels stand below each other
    names = alt.Axis(minExtent=round(6.8 * max(map(len, look.order))) + 12)
    panel = layers(alt.Chart(rows), x, look, names, alt.Legend(orient="top")).properties(
        width=WIDTH / len(columns) - 20, height=ROW_HEIGHT * len(look.order)
    )
    return panel.facet(column=alt.Column("panel:N", sort=columns), title=_heading(heading), spacing=28)


def alive(look: Look) -> alt.LayerChart:
    """The same dots for the page, as wide as there is room and as high as there are rows."""
    percent = alt.Axis(format="%", title=None, tickCount=5, labelFlush=False)
    x = alt.X(axis=percent, scale=alt.Scale(zero=True))  # one metric at a time: as far as it reaches
    legend = alt.Legend(orient="top", columns=NARROW)
    chart = layers(alt.Chart(alt.NamedData(name=ROWS)), x, look, alt.Axis(labelLimit=150), legend)
    return chart.properties(width="container", height=alt.Step(ROW_HEIGHT / 4))


def layers(chart: alt.Chart, x: alt.X, look: Look, names: alt.Axis, legend: alt.Legend) -> alt.LayerChart:
    """Intervals, and dots upon them: filled where facts were taught, hollow where not asked as taught."""
    asked = "datum.series == 'taught' || datum.series == 'rephrased'"
    # hollow dots are filled with paper, so that their own bar does not run through them
    inside = f"datum.series == 'taught' ? datum.{look.hue} : '{HOLLOW}'"
    base = chart.transform_calculate(hue=f"{asked} ? datum.{look.hue} : datum.series", inside=inside).encode(
        y=alt.Y(f"{look.y}:N", sort=list(look.order), title=None, axis=names),
        yOffset=alt.YOffset("probe:N", sort=list(SERIES), scale=alt.Scale(paddingOuter=0.6)),
        color=alt.Color("hue:N", scale=look.colours, legend=None),
    )
    key = legend.copy()
    key.symbolFillColor, key.symbolStrokeColor, key.symbolStrokeWidth = PAPER, INK, 1.5
    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=2)
    dots = base.mark_point(size=46, strokeWidth=1.8, opacity=1).encode(
        x=_of(x, "value"),
        shape=alt.Shape("series:N", scale=look.shapes, title=None, legend=key),
        fill=alt.Fill("inside:N", scale=look.colours, legend=None),
        tooltip=_tooltip(look.y),
    )
    return alt.layer(bars.encode(x=_of(x, "ci_low"), x2="ci_high:Q"), dots)


def _of(x: alt.X, column: str) -> alt.X:
    """The same axis and scale for another column."""
    return alt.X(f"{column}:Q", **x.to_dict())


def _tooltip(y: str) -> list[alt.Tooltip]:
    shares = {"value": "value", "ci_low": "95% interval from", "ci_high": "to", "placebo": NEVER}
    return [
        alt.Tooltip(f"{y}:N"),
        alt.Tooltip("series:N", title="facts"),
        *(alt.Tooltip(f"{name}:Q", format=".1%", title=title) for name, title in shares.items()),
        alt.Tooltip("n_seeds:Q", title="seeds"),
        alt.Tooltip("n_facts:Q", title="facts a seed"),
    ]


def _heading(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, fontSize=13, fontWeight=600, offset=6)
