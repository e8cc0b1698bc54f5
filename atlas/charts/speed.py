"""Chart of the speedrun: recall of all facts taught against the core-seconds that teaching them took."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from atlas.charts import picture, scatter
from atlas.charts.findings import after, basis, last, percent
from atlas.charts.frame import ARM, BASIS, Block, Chart, cells, measured, said, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import colours
from atlas.phrases import plural
from atlas.tables.speedrun import GOAL

COST = scatter.Cost("core_seconds", "core-seconds of a seed", log=True)


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel a checkpoint, one point an arm."""
    rows = dressed(tables.speedrun)
    palette, recipes = colours(tables.names), sorted(set(rows["recipe"]))
    panels = [
        (f"{after(sessions)}, {plural(int(part['n_facts'].iloc[0]), 'fact')}", part)
        for sessions, part in rows.groupby("sessions")
    ]
    yield Chart(
        name="speed",
        rows=rows,
        marks=lambda panel: scatter.points(panel, COST, palette, recipes, GOAL),
        blocks=[Block(panels, across=1)],
        title=finding(rows),
        subtitle=rests_on(rows),
        said=said(cells(rows), finding, rests_on),
        columns=ARM
        | told("text", recipe="Recipe")
        | told("count", core_seconds="Core-seconds", characters="Characters")
        | measured("Recall")
        | BASIS,
        **scatter.BESIDE_NAMES,
        titles=scatter.TITLES,
    )


def dressed(speedrun: pd.DataFrame) -> pd.DataFrame:
    """Recall under the name that charts give a share."""
    rows = speedrun.rename(columns={"recall": "value"}).drop(columns=["commit"])
    return rows.assign(qualifies=rows["qualifies"].astype(int))


def finding(rows: pd.DataFrame) -> list[str]:
    """The cheapest arm that reaches the goal after the last checkpoint, or the best where none does."""
    ended = last(rows)
    facts = plural(int(ended["n_facts"].iloc[0]), "fact")
    if not ended["qualifies"].any():
        best = ended.sort_values("value", ascending=False, kind="stable").iloc[0]
        return [f"No arm recalls {percent(GOAL)} of {facts}; the best is {best['arm']} with {best['value']:.1%}"]
    first = ended[ended["qualifies"] == 1].sort_values("core_seconds", kind="stable").iloc[0]
    cost = f"{first['core_seconds']:,.0f} core-seconds a seed"
    return [f"{percent(GOAL)} of {facts} recalled: {first['arm']} with preset {first['recipe']} in {cost}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """What counts as cost, and on how much it rests."""
    return [
        f"Training and the scoring that a recipe chooses by, not the probes. Dashed: the goal, {percent(GOAL)}.",
        f"{basis(last(rows)).capitalize()}.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
