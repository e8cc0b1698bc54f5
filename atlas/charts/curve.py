"""Chart of retention as teaching goes on: one small panel an arm, the other arms in grey behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import HEADLINE, after, extremes, interval, last, percent, seeds
from atlas.charts.frame import ARM, BASIS, TOP, Block, Chart, Panel, cells, measured, said, told, vertical
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BAND, PAPER, PLACEBO, WIDTH, colours, hue
from atlas.metrics import REGISTRY
from atlas.phrases import plural

ACROSS, GAP = 4, 16  # panels beside each other, pixels between them
HEIGHT = 84
MOST = 30  # sessions of a line
NEVER = "never taught"


def charts(tables: Tables) -> Iterator[Chart]:
    """One block of panels a metric; on the page one metric, up to the sessions that are chosen."""
    rows, palette = joined(tables), colours(tables.names)
    lines = rows[rows["series"] != NEVER]
    checkpoints = set(tables.retention["sessions"])
    yield Chart(
        name="curve",
        rows=rows,
        marks=lambda panel: trails(panel, palette),
        blocks=[
            Block(panels(part, tables.names), REGISTRY[str(metric)].title, across=ACROSS)
            for metric, part in rows.groupby("metric", sort=False)
        ],
        title=finding(last(lines[lines["metric"] == HEADLINE])),
        subtitle=rests_on(lines),
        said=said(((at, part) for at, part in cells(lines) if at[1] in checkpoints), finding, rests_on),
        columns=ARM | told("count", sessions="After session") | told("text", series="Facts") | measured() | BASIS,
        width=(WIDTH + 40) / ACROSS - GAP - 28,
        height=HEIGHT,
        page_height=HEIGHT + 20,
        gap=GAP,
        spacing=28,
        until=True,
        repeat=True,
        top="value",
    )


def joined(tables: Tables) -> pd.DataFrame:
    """The curves, and at the checkpoints the facts never taught; ``series`` tells them apart."""
    lines = tables.curve.rename(columns={"session": "sessions"}).assign(series="taught")
    never = tables.retention.query("domain == 'all' and probe == 'placebo'").assign(series=NEVER)
    never = never[never["metric"].isin(lines["metric"]) & never["arm"].isin(lines["arm"])]
    kept = thinned(sorted(set(lines["sessions"])), set(never["sessions"]))
    lines = lines[lines["sessions"].isin(kept)]
    columns = ["arm", "series", "sessions", "metric", "n_seeds", "n_facts", "value", "ci_low", "ci_high"]
    return pd.concat([lines, never], ignore_index=True)[columns]


def thinned(sessions: Sequence[int], always: Collection[int]) -> list[int]:
    """At most about ``MOST`` of the sessions, evenly; the first, the last and those of ``always`` stay."""
    step = -(-len(sessions) // MOST)
    return [s for at, s in enumerate(sessions) if at % step == 0 or s in always or s == sessions[-1]]


def panels(rows: pd.DataFrame, arms: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """A panel an arm, named with what it ends at; an arm that began in the middle of a study may have none."""
    found = []
    for arm in arms:
        mine = rows[(rows["arm"] == arm) & (rows["series"] != NEVER)].sort_values("sessions")
        if len(mine):
            found.append((f"{arm} · {percent(mine['value'].iloc[-1])}", rows.assign(own=rows["arm"] == arm)))
    return found


def trails(panel: Panel, palette: dict[str, str]) -> alt.LayerChart:
    """Rows that are not ``own`` in grey, those that are in colour with their band, placebo as squares."""
    ends = [0, alt.ExprRef(TOP)] if panel.live else limits(panel.rows)
    y = vertical(alt.Axis(format="%", tickCount=3, title=None), alt.Scale(domain=ends, nice=False))
    x = alt.X("sessions:Q", title=None, axis=alt.Axis(grid=False, tickMinStep=1, tickCount=4, format="d"))
    base = panel.data.encode(x=x)
    taught = base.transform_filter(f"datum.series !== '{NEVER}'")
    others = taught.transform_filter("!datum.own").mark_line(strokeWidth=1, color=BAND, clip=True)
    own = taught.transform_filter("datum.own").encode(color=hue(palette))
    never = base.transform_filter(f"datum.own && datum.series === '{NEVER}'")
    squares = never.mark_point(shape="square", size=34, fill=PAPER, color=PLACEBO, opacity=1, strokeWidth=1.4)
    layered = alt.layer(
        others.encode(y=y("value"), detail="arm:N"),
        # the first sessions rest on a handful of facts: their bands may leave the frame
        own.mark_area(opacity=0.22, clip=True).encode(y=y("ci_low"), y2="ci_high:Q"),
        own.mark_line(strokeWidth=2).encode(y=y("value")),
        never.mark_rule(color=PLACEBO, clip=True).encode(y=y("ci_low"), y2="ci_high:Q"),
        squares.encode(y=y("value"), tooltip=panel.tips),
        own.mark_point(size=60, opacity=0).encode(y=y("value"), tooltip=panel.tips),
    )
    return layered.add_params(alt.param(name=TOP, value=1)) if panel.live else layered


def limits(rows: pd.DataFrame) -> list[float]:
    """Ends of the scale: from 0, unless all values lie high; lines need no zero to be read."""
    values = rows["value"].to_numpy()
    bottom = np.floor(10 * values.min()) / 10
    return [float(bottom) if bottom >= 0.5 else 0.0, float(min(1.0, max(0.05, 1.1 * values.max())))]


def finding(rows: pd.DataFrame) -> list[str]:
    """How much of all that was taught so far is left, over the arms, for rows of one metric and session."""
    label = REGISTRY[rows["metric"].iloc[0]].label
    return [extremes(rows, f"{label} of all facts taught so far, {after(rows['sessions'].iloc[0])}")]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """What a point of the lines is, seeds, facts and intervals."""
    facts = plural(int(rows["n_facts"].max()), "fact")
    return [
        f"Share of all facts taught so far, session after session (to the right); {seeds(rows)}, {facts} at the end.",
        f"{interval(rows, 'Bands')}. Grey lines: the other arms. Squares: facts never taught (placebo), at the "
        "checkpoints.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
