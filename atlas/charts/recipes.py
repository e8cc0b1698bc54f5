"""Chart of the search for recipes: recall of every candidate against what it trained, and against what it did to the
base, placement by placement and rung by rung."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import after, last, seeds
from atlas.charts.frame import Block, Chart, Panel, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import PALETTE, PAPER, SOFT, WIDTH
from atlas.phrases import plural

SPACING = 26  # pixels between two panels
COLUMNS = (
    told("text", candidate="Candidate")
    | told("share", recall="Recall, mean over seeds", recall_low="Lowest seed", recall_high="Highest seed")
    | told("share", association="Association", recognition_net="Recognition, net", recall_rephrase="Recall, rephrased")
    | told("nats", rise="Rise, nats per character")
    | told("count", characters="Characters trained", core_seconds="Core-seconds")
)


@dataclass(frozen=True)
class Against:
    """What recall is shown against: a column, how it is called, and the column that says who is on the front."""

    column: str
    title: str
    heading: str
    front: str
    log: bool


COST = Against("characters", "characters trained", "Recall against cost", "front", log=True)
BASE_LOSS = Against(
    "rise", "rise of the base's loss, nats", "Recall against the rise in base loss", "front_rise", log=False
)


def charts(tables: Tables) -> Iterator[Chart]:
    """Cost and the rise in base loss; in each one row a placement and one column a rung."""
    rows = dressed(tables.recipes)
    yield from (against_one(rows, against) for against in (COST, BASE_LOSS))


def dressed(recipes: pd.DataFrame) -> pd.DataFrame:
    """The family of each candidate (the sweep that it is of), which gives its colour."""
    return recipes.drop(columns=["recipe"]).assign(family=recipes["candidate"].str.replace(r"_\d+$", "", regex=True))


def against_one(rows: pd.DataFrame, against: Against) -> Chart:
    """Recall against one other column."""
    rungs = sorted(set(rows["sessions"]))
    panels = [
        (f"{arm}, {after(rung)}" if rung == rungs[0] else after(rung), part[part["sessions"] == rung])
        for arm, part in rows.groupby("arm", sort=False)
        for rung in rungs
    ]
    return Chart(
        name="recipes",
        rows=rows,
        marks=lambda panel: candidates(panel, rows, against),
        blocks=[Block(panels, against.heading, across=len(rungs))],
        title=finding(rows),
        subtitle=rests_on(rows),
        columns=COLUMNS,
        width=WIDTH / len(rungs) - SPACING,
        height=110,
        gap=SPACING,
        spacing=24,
        titles={"fontSize": 11, "offset": 2},
        flush=True,
    )


def candidates(panel: Panel, rows: pd.DataFrame, against: Against) -> alt.LayerChart:
    """One placement at one rung: filled where a candidate goes on, a line through the front."""
    families = sorted(set(rows["family"]))
    low = panel.lowest
    x = alt.X(
        f"{against.column}:Q",
        scale=scale(rows[rows["sessions"] == panel.rows["sessions"].iloc[0]], against),
        axis=alt.Axis(
            title=against.title if low else None,
            labels=low,
            tickCount=3,
            format="~s" if against.log else "",
            labelOverlap=True,
        ),
    )
    first = {"format": "%", "title": "recall"}
    others = {"labels": False, "ticks": False, "domain": False, "title": None}
    shares = alt.Axis(values=[0, 0.5, 1], **(first if panel.first else others))
    hues = alt.Scale(domain=families, range=[PALETTE[i % len(PALETTE)] for i in range(len(families))])
    base = panel.data.encode(
        x=x,
        y=alt.Y("recall:Q", scale=alt.Scale(domain=[-0.06, 1.06], nice=False), axis=shares),
        color=alt.Color("family:N", scale=hues, legend=panel.legend(columns=5)),
    )
    line = base.transform_filter(f"datum.{against.front}").mark_line(strokeWidth=1.2)
    inside = alt.condition("datum.survived", alt.Fill("family:N", scale=hues, legend=None), alt.value(PAPER))
    return alt.layer(
        line.encode(color=alt.value(SOFT)),
        base.mark_rule(strokeWidth=1).encode(y=alt.Y("recall_low:Q"), y2="recall_high:Q"),
        base.mark_point(size=34, opacity=1, strokeWidth=1.6).encode(fill=inside, tooltip=panel.tips),
    )


def scale(rows: pd.DataFrame, against: Against) -> alt.Scale:
    """One scale for all placements at a rung."""
    low, high = float(rows[against.column].min()), float(rows[against.column].max())
    if against.log:
        return alt.Scale(type="log", domain=[low / 1.15, high * 1.15], nice=False)
    room = 0.05 * max(high - min(low, 0.0), 0.01)
    return alt.Scale(domain=[min(low, 0.0) - room, high + room], nice=False)


def finding(rows: pd.DataFrame) -> list[str]:
    """The best candidate of every placement at the last rung."""
    best = last(rows).sort_values(["recall", "characters"], ascending=[False, True], kind="stable")
    best = best.drop_duplicates("arm")
    arms = ", ".join(f"{row['arm']} {row['recall']:.1%} ({row['candidate']})" for row in best.to_dict("records"))
    return [f"Best recall {after(rows['sessions'].max())}: {arms}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """What is filled, what the lines are, and on how much it rests."""
    first = rows[rows["sessions"] == rows["sessions"].min()]
    tried = plural(int(first.groupby("arm")["candidate"].nunique().max()), "candidate")
    return [
        f"{tried} for each placement on the same {seeds(rows)}, which nothing else uses; bars from the lowest seed to "
        "the highest.",
        "Filled: tried for more sessions, too, or at the last rung. Lines: the front, where no candidate recalls more "
        "for less.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
