"""Chart of knock-outs: recall lost without a part of the adapter, then recall left with that part alone."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.adapter_parts import CELL_WIDTH, PANEL, ROW_HEIGHT, grid, order_of, squares
from atlas.charts.findings import HEADLINE, interval, listed, percent, seeds, span
from atlas.charts.frame import ARM, BASIS, Block, Chart, cells, measured, said, told
from atlas.charts.placing import placed
from atlas.charts.study_tables import Tables
from atlas.metrics import REGISTRY

ACROSS = 2  # panels beside each other
SHOWN = {"without": "lost", "only": "left"}
"""Change to the measure that is drawn of it."""


def charts(tables: Tables) -> Iterator[Chart]:
    """Layers downwards, roles to the right, whole layers and whole roles in the margins; one panel an arm."""
    rows = dressed(tables.locate)
    yield heatmap("locate_without", rows[rows["change"] == "without"], "Lost without it")
    yield heatmap("locate_only", rows[rows["change"] == "only"], "Left with it alone")


def dressed(locate: pd.DataFrame) -> pd.DataFrame:
    """The rows that are drawn, of taught facts, of slots, layers and roles; ``whole`` is that of the whole adapter."""
    taught = locate[locate["probe"] == "taught"]
    intact = taught[taught["change"] == "intact"][["arm", "metric", "value"]].rename(columns={"value": "whole"})
    parts = taught["part"].isin(["layer", "role", "slot"])
    rows = taught[parts & (taught["measure"] == taught["change"].map(SHOWN))].merge(intact, on=["arm", "metric"])
    return placed(rows).drop(columns=["probe", "half", "bases", "n_tests", "left_out", "few_seeds", "contract"])


def heatmap(name: str, rows: pd.DataFrame, heading: str) -> Chart:
    """The parts of one change."""
    pictured = rows[rows["metric"] == HEADLINE]
    finding = lost_without if name == "locate_without" else left_alone
    layers, _ = order_of(rows)
    panels = [
        (f"{arm}: {percent(part['whole'].iloc[0])} intact", part) for arm, part in pictured.groupby("arm", sort=False)
    ]
    return Chart(
        name=name,
        rows=rows,
        marks=lambda panel: squares(panel, *grid(panel, rows)),
        blocks=[Block(panels, heading=heading, across=ACROSS)],
        title=finding(pictured),
        subtitle=rests_on(pictured),
        said=said(cells(rows), finding, rests_on),
        columns=ARM | told("text", place="Part") | measured(heading) | told("share", whole="Whole adapter") | BASIS,
        width=alt.Step(CELL_WIDTH),
        height=ROW_HEIGHT * len(layers),
        page_height=alt.Step(ROW_HEIGHT),
        gap=20,
        titles={"fontSize": 12.5, "offset": 6},
        repeat=True,
        least=PANEL,
    )


def lost_without(rows: pd.DataFrame) -> list[str]:
    """Of each arm from what to what is lost without a slot, of one metric, and which is missed most."""
    found = []
    for arm, slots in rows[rows["part"] == "slot"].groupby("arm", sort=False):
        ordered = slots.sort_values("value", kind="stable")
        low, high = ordered["value"].iloc[[0, -1]]
        found.append(f"{arm} {span(low, high)} (most: {ordered['place'].iloc[-1]})")
    return [f"{REGISTRY[rows['metric'].iloc[0]].label} lost without one slot: {listed(found)}"]


def left_alone(rows: pd.DataFrame) -> list[str]:
    """Of each arm the most that a part is left with, of one metric."""
    best = [part.sort_values("value", kind="stable").iloc[-1] for _, part in rows.groupby("arm", sort=False)]
    most = listed(
        f"{row['arm']} {percent(row['value'])}" + (f" ({row['place']})" if row["value"] else "") for row in best
    )
    return [f"Most {REGISTRY[rows['metric'].iloc[0]].name} that a part has by itself: {most}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """How to read a cell, and on how much it rests."""
    grouped = (rows["first_layer"] < rows["last_layer"]).any()
    depth = "groups of layers by their depth, in tenths" if grouped else "layers, the first one on top"
    facts = listed(f"{int(n):,}" for n in sorted(set(rows["n_facts"])))
    return [
        f"Downwards {depth}; to the right roles. A cell is a slot, the adapter of a role in a layer; in the margins "
        "are whole layers and whole roles. Figures are percent of the facts taught; what is lost is that of the intact "
        "adapter, less what is left.",
        f"{seeds(rows)} of {facts} facts; {interval(rows, 'when pointed at')}.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
