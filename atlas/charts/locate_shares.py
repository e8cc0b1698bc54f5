"""Chart of shares: of each slot its share of the update, of the gradient and of knocked-out recall, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.adapter_parts import PANEL
from atlas.charts.findings import listed, seeds
from atlas.charts.frame import ARM, Block, Chart, Panel, cells, horizontal, measured, said, told
from atlas.charts.placing import placed, slots_of
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLACK, BLUE, PLACEBO, RED, WIDTH

ACROSS = 2  # panels beside each other
NAMES = 96  # pixels left of a panel, for slots
SLOT_HEIGHT = 17
LOOKS = {
    "recall": ("recall lost without it", BLUE, "circle"),
    "norm": ("squared norm of its update", RED, "diamond"),
    "gradient": ("gradient before teaching", BLACK, "triangle-up"),
}
"""Source of a share to its words, colour and shape; parameters are a tick behind them."""


def charts(tables: Tables) -> Iterator[Chart]:
    """Slots from top to bottom, one panel an arm; dots with intervals, and a tick where shares of parameters are."""
    table = tables.locate_shares
    alike = table[table["measure"] == "rank_correlation"]
    slots = placed(table[table["measure"] == "share"])
    size = slots[slots["source"] == "parameters"].set_index(["arm", "place"])["value"].rename("size")
    rows = slots[slots["source"] != "parameters"].join(size, on=["arm", "place"])
    rows = rows.assign(series=[LOOKS[source][0] for source in rows["source"]])
    rows = rows.drop(columns=["measure", "against", "bases", "layers", "column"])
    most = float(rows[["value", "ci_high", "size"]].max().max())
    yield Chart(
        name="locate_shares",
        rows=rows,
        marks=lambda panel: dots(panel, most, slots_of(slots)),
        blocks=[Block([(str(arm), part) for arm, part in rows.groupby("arm", sort=False)], across=ACROSS)],
        title=finding(alike),
        subtitle=rests_on(rows),
        said=said(cells(rows), lambda _: finding(alike), rests_on),
        columns=ARM
        | told("text", place="Slot", series="Share of")
        | measured("Share")
        | told("share", size="Share of parameters")
        | told("count", n_seeds="Seeds"),
        width=WIDTH / ACROSS - NAMES,
        height=alt.Step(SLOT_HEIGHT),
        gap=20,
        titles={"fontSize": 12.5, "offset": 6},
        repeat=True,
        least=PANEL,
    )


def dots(panel: Panel, most: float, places: Sequence[str]) -> alt.LayerChart:
    """Three dots a slot, with their intervals; a grey tick says the share of parameters."""
    own = panel.data.transform_filter("datum.own") if panel.live else panel.data
    words, hues, shapes = (list(part) for part in zip(*LOOKS.values(), strict=True))
    legend = panel.legend(columns=1) if panel.first else None
    colour = alt.Color("series:N", sort=words, scale=alt.Scale(domain=words, range=hues), legend=legend)
    shape = alt.Shape("series:N", sort=words, scale=alt.Scale(domain=words, range=shapes), legend=legend)
    place = alt.Y("place:N", sort=list(places), axis=alt.Axis(title=None, labelLimit=NAMES))
    x = horizontal(alt.Axis(format="%", title=None, tickCount=4), panel.scale(0, most))
    base = own.encode(y=place)
    ticks = base.mark_tick(color=PLACEBO, thickness=3, height=SLOT_HEIGHT - 3)
    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=1.5)
    points = base.mark_point(filled=True, size=42, opacity=1)
    return alt.layer(
        ticks.encode(x=x("size")),
        bars.encode(x=x("ci_low"), x2="ci_high:Q", color=colour),
        points.encode(x=x("value"), color=colour, shape=shape, tooltip=panel.tips),
    )


def finding(alike: pd.DataFrame) -> list[str]:
    """How the order of slots by update and by gradient agrees with that by lost recall, arm by arm."""
    rows = alike[alike["against"] == "recall"]
    if rows.empty:
        return ["No arm loses recall without some slots more than without others"]
    return [
        f"Rank correlation over slots of lost recall with the {words}: "
        + listed(f"{row['arm']} {row['value']:+.2f}{_ends(row)}" for row in part.to_dict("records"))
        for source, words in (("norm", "update"), ("gradient", "gradient"))
        if len(part := rows[rows["source"] == source])
    ]


def _ends(row: Mapping[Any, Any]) -> str:
    return "" if pd.isna(row["ci_low"]) else f" ({row['ci_low']:+.2f} to {row['ci_high']:+.2f})"


def rests_on(rows: pd.DataFrame) -> list[str]:
    """What the shares are, and on how much they rest."""
    bars = "bars and ranges: 95% interval over seeds" if rows["n_seeds"].max() > 1 else "one seed has no interval"
    return [
        "A slot is the adapter of a role in a layer. Its shares are of the sum over all slots of an arm: of squared "
        "Frobenius norms of updates, of squared gradients of what is taught before any teaching, and of recall lost "
        "without a slot. Grey ticks: its share of the parameters.",
        f"{seeds(rows)}; {bars}.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
