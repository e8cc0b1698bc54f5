"""Parts of an adapter as charts draw them: layers (or their depth) downwards, roles to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from atlas.charts.frame import Panel
from atlas.charts.placing import ALL_LAYERS, ALL_ROLES
from atlas.charts.theme import BLUE, INK, PAPER
from atlas.tables.knockouts import ROLES

GAP = " "  # between single parts and margins
DEEP = 0.85  # share from which a cell is so deep that its figure is light
ROW_HEIGHT, CELL_WIDTH = 24, 34  # pixels
PANEL = 19.0  # rem: of a panel on the page, at least


def order_of(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names of layers from top to bottom and of columns from left to right: single ones, a gap, then the margins."""
    single = rows.dropna(subset="first_layer").sort_values("first_layer", kind="stable")
    layers = list(dict.fromkeys(single["layers"]))
    roles = [role for role in ROLES if role in set(rows["column"])]
    return (
        [*layers, *([GAP, ALL_LAYERS] if ALL_LAYERS in set(rows["layers"]) else [])],
        [*roles, *([GAP, ALL_ROLES] if ALL_ROLES in set(rows["column"]) else [])],
    )


def squares(panel: Panel, x: alt.X, y: alt.Y) -> alt.LayerChart:
    """Cells that are the deeper the greater their ``value``, each with its figure, in percent; on a light page and on a
    dark one."""
    own = panel.data.transform_filter("datum.own") if panel.live else panel.data
    # zero is added so that none reads as -0
    base = own.transform_calculate(figure="format(round(100 * datum.value) + 0, 'd')").encode(x=x, y=y)
    scale = alt.Scale(domain=[0, 1], range=[0.05, 1], clamp=True)
    depth = alt.Opacity("value:Q", scale=scale, legend=None)
    cells = base.mark_rect(fill=BLUE).encode(opacity=depth, tooltip=panel.tips)
    light = alt.condition(f"datum.value > {DEEP}", alt.value(PAPER), alt.value(INK))
    return alt.layer(cells, base.mark_text(fontSize=11).encode(text="figure:N", color=light))


def grid(panel: Panel, rows: pd.DataFrame) -> tuple[alt.X, alt.Y]:
    """Columns to the right and layers downwards; in the picture with a gap before the margins."""
    layers, columns = order_of(panel.rows if not panel.live else rows)

    def how(names: Sequence[str]) -> dict[str, Any]:
        scale = {"padding": 0.04}
        if panel.live:
            return {"sort": [name for name in names if name != GAP], "scale": alt.Scale(**scale)}
        return {"sort": None, "scale": alt.Scale(domain=list(names), **scale)}

    above = alt.Axis(title=None, orient="top", labelAngle=0, labelOverlap=False)
    return alt.X("column:N", axis=above, **how(columns)), alt.Y("layers:N", axis=alt.Axis(title=None), **how(layers))
