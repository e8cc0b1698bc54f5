"""A heatmap of layers and roles, with whole layers and whole roles at its margins, which several charts share."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from atlas.charts.frame import Panel
from atlas.charts.theme import AXIS, INK, PAPER

ALL = "all"
BETWEEN = ""  # an empty row or column before the margin
DEEP = 0.8  # from here on the ground is dark enough for writing as light as the paper
CELL = 26  # pixels of a row


def with_margin(names: Sequence[str]) -> list[str]:
    """Rows or columns of a heatmap in their order, the one for all of them, where there is one, behind a gap."""
    single = [name for name in names if name != ALL]
    return [*single, BETWEEN, ALL] if ALL in names else single


def heatmap(panel: Panel, roles: Sequence[str], layers: Sequence[str], colour: str) -> alt.LayerChart:
    """Layers to the right, roles downwards, the deeper the greater; cells without a depth have a dashed frame.

    Rows have ``role`` and ``layer`` (some of those given), ``depth`` from 0 to 1 (null: no figure), and ``said``, which
    is written into the cell.
    """
    base = panel.data.encode(
        x=alt.X("layer:O", title="layer", scale=alt.Scale(domain=list(layers)), axis=alt.Axis(labelAngle=0)),
        y=alt.Y("role:O", title=None, scale=alt.Scale(domain=list(roles)), axis=panel.names()),
    )
    depth = alt.Opacity("depth:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 1], clamp=True), legend=None)
    light = alt.condition(f"datum.depth > {DEEP}", alt.value(PAPER), alt.value(INK))
    return alt.layer(
        base.transform_filter("isValid(datum.depth)").mark_rect(fill=colour).encode(opacity=depth, tooltip=panel.tips),
        base.transform_filter("!isValid(datum.depth)")
        .mark_rect(fillOpacity=0, stroke=AXIS, strokeDash=[2, 3], strokeWidth=0.7)
        .encode(tooltip=panel.tips),
        base.mark_text(fontSize=11).encode(text="said:N", color=light),
    )
