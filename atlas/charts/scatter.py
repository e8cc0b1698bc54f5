"""Marks that several charts share: recall against what it costs, and names of arms in a column beside a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from atlas.charts.frame import Panel
from atlas.charts.theme import GRID, SOFT, WIDTH, hue
from atlas.tables.intervals import Floats

HEIGHT = 210  # of a panel, pixels
NAMES = 190  # right of a panel, for names and figures
SIDE = WIDTH - NAMES  # of a panel beside names
GAP = 14  # from one name to the next
BESIDE_NAMES: dict[str, Any] = {"width": SIDE, "height": HEIGHT, "page_height": 300, "gap": 18}
TITLES = {"fontSize": 13, "offset": 4}  # of a panel that is a block by itself
LOWEST, HIGHEST = -0.03, 1.03  # ends of the scale of recall: room for marks at 0 and 1
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")


@dataclass(frozen=True)
class Cost:
    """What stands to the right: a column of the rows, how it is called, and its scale."""

    column: str
    title: str
    log: bool = False
    interval: tuple[str, str] | None = None  # columns of its ends

    def x(self, column: str = "") -> alt.X:
        """The place by a column."""
        scale = alt.Scale(type="log", nice=False, padding=12) if self.log else alt.Scale(zero=True, nice=True)
        axis = alt.Axis(tickCount=5, labelOverlap=True, format="~s" if self.log else "", grid=True)
        return alt.X(f"{column or self.column}:Q", title=self.title, scale=scale, axis=axis)


def points(
    panel: Panel, cost: Cost, palette: Mapping[str, str], recipes: Sequence[str], goal: float | None = None
) -> alt.LayerChart:
    """A point an arm with its intervals, shapes by recipe, and a line at the goal.

    Rows have arm, recipe, value, ci_low and ci_high. Arms are named beside the panel, on the page above the points.
    """
    shapes = alt.Scale(domain=list(recipes), range=[SHAPES[i % len(SHAPES)] for i in range(len(recipes))])
    base = panel.data.encode(color=hue(palette))
    marks: list[alt.Chart] = []
    if goal is not None:
        marks.append(alt.Chart(panel.data.data).mark_rule(color=SOFT, strokeDash=[3, 3]).encode(y=alt.datum(goal)))
    known = base.transform_filter("isValid(datum.ci_low)")
    marks.append(known.mark_rule(strokeWidth=1.5).encode(x=cost.x(), y=recall("ci_low"), y2="ci_high:Q"))
    if cost.interval:
        low, high = cost.interval
        ends = base.transform_filter(f"isValid(datum.{low})").mark_rule(strokeWidth=1.5)
        marks.append(ends.encode(x=cost.x(low), x2=f"{high}:Q", y=recall("value")))
    dots = base.mark_point(filled=True, size=70, opacity=1, stroke=GRID, strokeWidth=0.5).encode(
        x=cost.x(),
        y=recall("value"),
        shape=alt.Shape("recipe:N", scale=shapes, legend=panel.legend() if len(recipes) > 1 else None),
        tooltip=panel.tips,
    )
    if panel.live:
        above = base.mark_text(dy=-10, fontSize=11).encode(x=cost.x(), y=alt.Y("value:Q"), text="arm:N")
        return alt.layer(*marks, dots, above)
    return alt.layer(*marks, dots, names(panel.rows, palette))


def recall(column: str) -> alt.Y:
    """A column on the scale that all these charts share."""
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title="recall")
    return alt.Y(f"{column}:Q", axis=axis, scale=alt.Scale(domain=[LOWEST, HIGHEST], nice=False))


def names(rows: pd.DataFrame, palette: Mapping[str, str], low: float = LOWEST, high: float = HIGHEST) -> alt.Chart:
    """The arms from top to bottom in a column to the right of a panel from ``low`` to ``high``, each at its value or as
    near as there is room."""
    ordered = rows.sort_values("value", ascending=False, kind="stable")
    pixels = (high - ordered["value"].to_numpy(float)) / (high - low) * HEIGHT
    ordered = ordered.assign(
        at=spread(pixels, GAP, HEIGHT),
        named=[f"{arm}  {value:.1%}" for arm, value in zip(ordered["arm"], ordered["value"], strict=True)],
    )
    text = alt.Chart(ordered).mark_text(align="left", dx=10, fontSize=11, baseline="middle")
    place = alt.Y("at:Q", axis=None, scale=None)
    return text.encode(x=alt.value(SIDE), y=place, text="named:N", color=hue(palette))


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
