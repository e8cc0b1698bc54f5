"""Recall against the rise in base loss, a part of the chart of base loss."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts import scatter
from atlas.charts.live import NATS, SHARE, TEXT, Figure
from atlas.charts.tables import Tables
from atlas.charts.theme import colours
from atlas.charts.words import after, basis, listed
from atlas.search.halving import fronts

COST = scatter.Cost("rise", "rise of the base's loss, nats per character", interval=("rise_low", "rise_high"))
TABLE = {
    "Arm": ("arm", TEXT),
    "Recipe": ("recipe", TEXT),
    "Recall": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Rise": ("rise", NATS),
    "95% interval of the rise": ("rise_low rise_high", NATS),
}


def panels(tables: Tables) -> list[alt.LayerChart]:
    """One panel a checkpoint, one point an arm."""
    return scatter.panels(joined(tables), COST, colours(tables.names))


def joined(tables: Tables) -> pd.DataFrame:
    """Recall of the facts taught and the rise of the loss, by arm and checkpoint.

    ``best`` are arms on the certified base that no other one of these beats: on a base whose weights are at random,
    any teaching may lower the loss.
    """
    recall = tables.retention.query("metric == 'recall' and probe == 'taught' and domain == 'all'")
    recall = recall[["arm", "sessions", "n_seeds", "n_facts", "value", "ci_low", "ci_high"]]
    base_loss = tables.base_loss[["arm", "sessions", "rise", "ci_low", "ci_high"]]
    base_loss = base_loss.rename(columns={"ci_low": "rise_low", "ci_high": "rise_high"})
    rows = recall.merge(base_loss, on=["arm", "sessions"]).merge(tables.arms[["arm", "recipe", "reinit"]], on="arm")
    rows = rows.sort_values("sessions", kind="stable").reset_index(drop=True)
    best = pd.concat(
        [
            pd.Series(fronts(part["value"].to_numpy(), part["rise"].to_numpy()) == 0, index=part.index)
            for _, part in rows[rows["reinit"] == ""].groupby("sessions")
        ]
    )
    heading = [f"recall against the rise in base loss, {after(sessions)}" for sessions in rows["sessions"]]
    return rows.assign(panel=heading, best=best.reindex(rows.index, fill_value=False).astype(int))


def live(tables: Tables) -> Figure:
    """One checkpoint at a time."""
    rows = joined(tables)
    return Figure(
        name="front",
        table="front",
        rows=rows,
        chart=scatter.alive(COST, colours(tables.names), sorted(set(rows["recipe"]))),
        columns=TABLE,
        said={
            ("", int(part["sessions"].iloc[0])): (f"{finding(part)}.", f"{basis(part).capitalize()}.")
            for _, part in rows.groupby("sessions")
        },
    )


def finding(rows: pd.DataFrame) -> str:
    """The arms that none beats in both recall and the rise in base loss at the last checkpoint, gentlest first."""
    last = rows[(rows["sessions"] == rows["sessions"].max()) & (rows["best"] == 1)].sort_values("rise", kind="stable")
    said = listed(f"{row['arm']} ({row['value']:.1%}, {row['rise']:+.2f})" for row in last.to_dict("records"))
    return f"No arm recalls more for less rise in base loss, {after(last['sessions'].iloc[0])}: {said}"
