"""Chart of the speedrun: recall of all facts taught against the core-seconds that teaching them took."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts import scatter
from atlas.charts.live import COUNT, SHARE, TEXT, Figure
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import colours, title
from atlas.charts.words import after, basis, percent, plural
from atlas.tables.speedrun import GOAL
from atlas.workflow.steps import run_step

COST = scatter.Cost("core_seconds", "core-seconds of a seed", log=True, format=",.0f")
TABLE = {
    "Arm": ("arm", TEXT),
    "Recipe": ("recipe", TEXT),
    "Core-seconds": ("core_seconds", COUNT),
    "Characters": ("characters", COUNT),
    "Recall": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Seeds": ("n_seeds", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One panel a checkpoint, one point an arm."""
    rows = dressed(tables.speedrun)
    charts = scatter.panels(rows.sort_values("sessions", kind="stable"), COST, colours(tables.names), GOAL)
    return alt.vconcat(*charts, spacing=18).properties(title=title(finding(rows), subtitle(rows)))


def dressed(speedrun: pd.DataFrame) -> pd.DataFrame:
    """Recall under the name that charts give a share, and the panel of each row."""
    rows = speedrun.rename(columns={"recall": "value"}).drop(columns=["commit"])
    panels = [
        f"{after(sessions)}, {plural(facts, 'fact')}"
        for sessions, facts in zip(rows["sessions"], rows["n_facts"], strict=True)
    ]
    return rows.assign(panel=panels, qualifies=rows["qualifies"].astype(int))


def live(tables: Tables) -> Figure:
    """One checkpoint at a time."""
    rows = dressed(tables.speedrun)
    return Figure(
        name="speed",
        table="speed",
        rows=rows,
        chart=scatter.alive(COST, colours(tables.names), sorted(set(rows["recipe"])), GOAL),
        columns=TABLE,
        said={
            ("", int(part["sessions"].iloc[0])): (f"{finding(part)}.", " ".join(subtitle(part)))
            for _, part in rows.groupby("sessions")
        },
    )


def finding(rows: pd.DataFrame) -> str:
    """The cheapest arm that reaches the goal after the last checkpoint, or the best where none does."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    facts = plural(int(last["n_facts"].iloc[0]), "fact")
    if not last["qualifies"].any():
        best = last.loc[last["value"].idxmax()]
        return f"No arm recalls {percent(GOAL)} of {facts}; the best is {best['arm']} with {best['value']:.1%}"
    first = last[last["qualifies"] == 1].sort_values("core_seconds", kind="stable").iloc[0]
    cost = f"{first['core_seconds']:,.0f} core-seconds a seed"
    return f"{percent(GOAL)} of {facts} recalled: {first['arm']} with preset {first['recipe']} in {cost}"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """What counts as cost, and on how much it rests."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    return [
        f"Training and the scoring that a recipe chooses by, not the probes. Dashed: the goal, {percent(GOAL)}.",
        f"{basis(last).capitalize()}.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
