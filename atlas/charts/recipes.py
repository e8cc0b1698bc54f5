"""Chart of the search for recipes: recall of every candidate against what it trained, and against what it did to the
base, placement by placement and rung by rung."""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import PALETTE, PAPER, SOFT, WIDTH, title
from atlas.charts.words import after, plural
from atlas.workflow.steps import run_step

HEIGHT, SPACING = 110, 26  # pixels of a panel, and between two
PERCENT = alt.Axis(format="%", values=[0, 0.5, 1], title="recall")
NO_PERCENT = alt.Axis(labels=False, ticks=False, domain=False, values=[0, 0.5, 1], title=None)


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


def draw(tables: Tables) -> alt.VConcatChart:
    """Two blocks, cost and the rise in base loss; in each one row a placement and one column a rung."""
    rows = dressed(tables.recipes)
    blocks = [block(rows, against) for against in (COST, BASE_LOSS)]
    return alt.vconcat(*blocks, spacing=24).properties(title=title(finding(rows), subtitle(rows)))


def dressed(recipes: pd.DataFrame) -> pd.DataFrame:
    """The family of each candidate (the sweep that it is of), which gives its colour."""
    return recipes.drop(columns=["recipe"]).assign(family=recipes["candidate"].str.replace(r"_\d+$", "", regex=True))


def block(rows: pd.DataFrame, against: Against) -> alt.VConcatChart:
    """The panels of one block."""
    arms, rungs = list(dict.fromkeys(rows["arm"])), sorted(set(rows["sessions"]))
    grid = [
        alt.hconcat(
            *(panel(rows, against, arm, rung, first=rung == rungs[0], last=arm == arms[-1]) for rung in rungs),
            spacing=SPACING,
            bounds="flush",  # so that panels stand below each other
        )
        for arm in arms
    ]
    heading = alt.TitleParams(against.heading, fontSize=14, fontWeight=600, offset=6)
    return alt.vconcat(*grid, spacing=12).properties(title=heading)


def panel(rows: pd.DataFrame, against: Against, arm: str, rung: int, first: bool, last: bool) -> alt.LayerChart:
    """One placement at one rung: filled where a candidate goes on, a line through the front."""
    rungs, families = sorted(set(rows["sessions"])), sorted(set(rows["family"]))
    of_rung = rows[rows["sessions"] == rung]
    axis = alt.Axis(
        title=against.title if last else None,
        labels=last,
        tickCount=3,
        format="~s" if against.log else "",
        labelOverlap=True,
    )
    x = alt.X(f"{against.column}:Q", scale=scale(of_rung, against), axis=axis)
    y = alt.Y("recall:Q", scale=alt.Scale(domain=[-0.06, 1.06], nice=False), axis=PERCENT if first else NO_PERCENT)
    hues = alt.Scale(domain=families, range=[PALETTE[i % len(PALETTE)] for i in range(len(families))])
    legend = alt.Legend(orient="top", title=None, columns=5)
    base = alt.Chart(of_rung[of_rung["arm"] == arm]).encode(
        x=x, y=y, color=alt.Color("family:N", scale=hues, legend=legend)
    )
    line = base.transform_filter(f"datum.{against.front}").mark_line(strokeWidth=1.2)
    ends = base.mark_rule(strokeWidth=1).encode(y=alt.Y("recall_low:Q"), y2="recall_high:Q")
    dots = base.mark_point(size=34, opacity=1, strokeWidth=1.6).encode(
        fill=alt.condition("datum.survived", alt.Fill("family:N", scale=hues, legend=None), alt.value(PAPER)),
        tooltip=_tooltip(),
    )
    said = f"{arm}, {after(rung)}" if first else after(rung)
    heading = alt.TitleParams(said, fontSize=11, fontWeight=600, offset=2)
    layered = alt.layer(line.encode(color=alt.value(SOFT)), ends, dots)
    return layered.properties(width=WIDTH / len(rungs) - SPACING, height=HEIGHT, title=heading)


def scale(rows: pd.DataFrame, against: Against) -> alt.Scale:
    """One scale for all placements at a rung."""
    low, high = float(rows[against.column].min()), float(rows[against.column].max())
    if against.log:
        return alt.Scale(type="log", domain=[low / 1.15, high * 1.15], nice=False)
    room = 0.05 * max(high - min(low, 0.0), 0.01)
    return alt.Scale(domain=[min(low, 0.0) - room, high + room], nice=False)


def _tooltip() -> list[alt.Tooltip]:
    shares = {"recall": "recall, mean over seeds", "recall_low": "lowest seed", "recall_high": "highest seed"}
    shares |= {"ranked": "ranked", "recognition_net": "recognition, net", "recall_rephrase": "recall, rephrased"}
    return [
        alt.Tooltip("candidate:N"),
        *(alt.Tooltip(f"{name}:Q", format=".1%", title=title) for name, title in shares.items()),
        alt.Tooltip("rise:Q", format=".3f", title="rise, nats per character"),
        alt.Tooltip("characters:Q", format=",", title="characters trained"),
        alt.Tooltip("core_seconds:Q", format=",.0f", title="core-seconds"),
    ]


def finding(rows: pd.DataFrame) -> list[str]:
    """The best candidate of every placement at the last rung."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    best = last.sort_values(["recall", "characters"], ascending=[False, True], kind="stable").drop_duplicates("arm")
    said = [f"{row['arm']} {row['recall']:.1%} ({row['candidate']})" for row in best.to_dict("records")]
    return [f"Best recall {after(last['sessions'].iloc[0])}: {', '.join(said)}"]


def subtitle(rows: pd.DataFrame) -> list[str]:
    """What is filled, what the lines are, and on how much it rests."""
    first = rows[rows["sessions"] == rows["sessions"].min()]
    tried = plural(int(first.groupby("arm")["candidate"].nunique().max()), "candidate")
    seeds = plural(int(rows["n_seeds"].max()), "seed")
    return [
        f"{tried} for each placement on the same {seeds}, which nothing else uses; bars from the lowest seed to the "
        "highest.",
        "Filled: tried for more sessions, too, or at the last rung. Lines: the front, where no candidate recalls more "
        "for less.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
