"""Parts of an adapter as charts name and place them: layers (or their depth) downwards, roles to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from atlas.charts.frame import Panel
from atlas.charts.theme import BLUE, INK, PAPER
from atlas.tables.knockouts import ROLES

ALL_LAYERS, ALL_ROLES = "all layers", "all"
GAP = " "  # between single parts and margins
DEEP = 0.85  # share from which a cell is so deep that its figure is light
ROW_HEIGHT, CELL_WIDTH = 24, 34  # pixels
PANEL = 19.0  # rem: of a panel on the page, at least


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of parts with the names of their layers (``layers``), their role (``column``) and both (``place``).

    Where layers are grouped, they are named by their depth in tenths of the model, so that models of any depth compare.
    """
    depth = rows["last_layer"].max() + 1
    grouped = (rows["first_layer"] < rows["last_layer"]).any()
    first, last = rows["first_layer"], rows["last_layer"]
    names = {
        (a, b): f"{10 * a / depth:.2g} to {10 * (b + 1) / depth:.2g}" if grouped else f"layer {a:.0f}"
        for a, b in sorted(set(zip(first.dropna(), last.dropna(), strict=True)))
    }
    layers = [names.get(pair, ALL_LAYERS) for pair in zip(first, last, strict=True)]
    column = rows["role"].fillna(ALL_ROLES)
    depths = "depth " if grouped else ""
    place = [
        " ".join(filter(None, (f"{depths}{layer}" if layer != ALL_LAYERS else "", role if role != ALL_ROLES else "")))
        for layer, role in zip(layers, column, strict=True)
    ]
    return rows.assign(layers=layers, column=column, place=place)


def slots_of(rows: pd.DataFrame) -> list[str]:
    """Names of all slots, layer by layer, of rows of ``placed``."""
    slots = rows.dropna(subset=["first_layer", "role"]).drop_duplicates("place")
    role = slots["role"].map(ROLES.index)
    return list(slots.assign(at=role).sort_values(["first_layer", "at"], kind="stable")["place"])


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
