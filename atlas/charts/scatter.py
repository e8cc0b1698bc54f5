"""Recall against what it costs: a point an arm with its intervals, and the names of the arms beside in a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from atlas.charts.live import NARROW, ROWS
from atlas.charts.theme import GRID, SOFT, WIDTH, hue, share_tips
from atlas.tables.intervals import Floats

HEIGHT = 210  # of a panel, pixels
NAMES = 190  # right of a panel, for names and figures
GAP = 14  # from one name to the next
LOWEST, HIGHEST = -0.03, 1.03  # ends of the scale of recall: room for marks at 0 and 1
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")


@dataclass(frozen=True)
class Cost:
    """What stands to the right: a column of the rows, how it is called, and its scale."""

    column: str
    title: str
    log: bool = False
    interval: tuple[str, str] | None = None  # columns of its ends
    format: str = ",.4~g"

    @property
    def scale(self) -> alt.Scale:
        return alt.Scale(type="log", nice=False, padding=12) if self.log else alt.Scale(zero=True, nice=True)

    @property
    def axis(self) -> alt.Axis:
        return alt.Axis(tickCount=5, labelOverlap=True, format="~s" if self.log else "", grid=True)

    def x(self, column: str = "") -> alt.X:
        return alt.X(f"{column or self.column}:Q", title=self.title, scale=self.scale, axis=self.axis)


def panels(
    rows: pd.DataFrame, cost: Cost, palette: Mapping[str, str], goal: float | None = None
) -> list[alt.LayerChart]:
    """One panel for each value of ``panel``, one below the other; rows have arm, recipe, value, ci_low and ci_high."""
    charts: list[alt.LayerChart] = []
    recipes = sorted(set(rows["recipe"]))
    for name in dict.fromkeys(rows["panel"]):
        part = rows[rows["panel"] == name]
        legend = alt.Legend(orient="top", title=None) if not charts and len(recipes) > 1 else None
        shown = layers(alt.Chart(part), cost, palette, recipes, legend, goal)
        chart = alt.layer(shown, *names(part, palette)).properties(width=WIDTH - NAMES, height=HEIGHT)
        charts.append(chart.properties(title=alt.TitleParams(str(name), fontSize=13, fontWeight=600, offset=4)))
    return charts


def layers(
    chart: alt.Chart,
    cost: Cost,
    palette: Mapping[str, str],
    recipes: Sequence[str],
    legend: alt.Legend | None,
    goal: float | None = None,
) -> alt.LayerChart:
    """Points with their intervals, shapes by recipe, and a line at the goal."""
    shapes = alt.Scale(domain=list(recipes), range=[SHAPES[i % len(SHAPES)] for i in range(len(recipes))])
    base = chart.encode(color=hue(palette))
    marks: list[alt.Chart] = []
    if goal is not None:
        marks.append(alt.Chart(chart.data).mark_rule(color=SOFT, strokeDash=[3, 3]).encode(y=alt.datum(goal)))
    known = base.transform_filter("isValid(datum.ci_low)")
    marks.append(known.mark_rule(strokeWidth=1.5).encode(x=cost.x(), y=recall("ci_low"), y2="ci_high:Q"))
    if cost.interval:
        low, high = cost.interval
        across = base.transform_filter(f"isValid(datum.{low})").mark_rule(strokeWidth=1.5)
        marks.append(across.encode(x=cost.x(low), x2=f"{high}:Q", y=recall("value")))
    dots = base.mark_point(filled=True, size=70, opacity=1, stroke=GRID, strokeWidth=0.5).encode(
        x=cost.x(), y=recall("value"), shape=alt.Shape("recipe:N", scale=shapes, legend=legend), tooltip=_tooltip(cost)
    )
    return alt.layer(*marks, dots)


def recall(column: str) -> alt.Y:
    """A column on the scale that all these charts share."""
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title="recall")
    return alt.Y(f"{column}:Q", axis=axis, scale=alt.Scale(domain=[LOWEST, HIGHEST], nice=False))


def names(rows: pd.DataFrame, palette: Mapping[str, str]) -> list[alt.Chart]:
    """The arms of a panel from top to bottom in a column to the right, by recall, each as far from the next as it takes
    to read them."""
    ordered = rows.sort_values("value", ascending=False, kind="stable")
    pixels = (HIGHEST - ordered["value"].to_numpy(float)) / (HIGHEST - LOWEST) * HEIGHT
    ordered = ordered.assign(
        at=spread(pixels, GAP, HEIGHT),
        said=[f"{arm}  {value:.1%}" for arm, value in zip(ordered["arm"], ordered["value"], strict=True)],
    )
    place = alt.Y("at:Q", axis=None, scale=None)
    text = alt.Chart(ordered).mark_text(align="left", dx=10, fontSize=11, baseline="middle")
    return [text.encode(x=alt.value(WIDTH - NAMES), y=place, text="said:N", color=hue(palette))]


def spread(at: Floats, gap: float, end: float) -> list[float]:
    """Positions from 0 to ``end``, rising, at least ``gap`` apart and as near to ``at`` (rising) as can be, in squares;
    past the end where there is no room for all.

    Least squares under that order is isotonic regression of the positions less their ranks' share: neighbours that are
    too near move as one block, and bounds clip the blocks (Robertson, Wright and Dykstra, Order Restricted Statistical
    Inference, 1988).
    """
    blocks: list[tuple[float, int]] = []
    for number, value in enumerate(at):
        mean, count = float(value) - number * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (mean * count + before * many) / (count + many), count + many
        blocks.append((mean, count))
    highest = max(0.0, end - (len(at) - 1) * gap)
    means = [min(max(mean, 0.0), highest) for mean, count in blocks for _ in range(count)]
    return [mean + number * gap for number, mean in enumerate(means)]


def alive(cost: Cost, palette: Mapping[str, str], recipes: Sequence[str], goal: float | None = None) -> alt.LayerChart:
    """The same points for the page, each with its arm's name above it."""
    legend = alt.Legend(orient="top", title=None, columns=NARROW) if len(recipes) > 1 else None
    chart = alt.Chart(alt.NamedData(name=ROWS))
    shown = layers(chart, cost, palette, recipes, legend, goal)
    text = chart.mark_text(dy=-10, fontSize=11).encode(x=cost.x(), y=alt.Y("value:Q"), text="arm:N", color=hue(palette))
    return alt.layer(shown, text).properties(width="container", height=300)


def _tooltip(cost: Cost) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("recipe:N"),
        *share_tips("recall"),
        alt.Tooltip(f"{cost.column}:Q", format=cost.format, title=cost.title),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]
