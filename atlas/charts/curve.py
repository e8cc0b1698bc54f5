"""Chart of retention as teaching goes on: one small panel an arm, the other arms in grey behind it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts.live import COUNT, ROWS, SHARE, TEXT, TOP, Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import BAND, PAPER, PLACEBO, WIDTH, colours, hue, share_tips, title
from atlas.charts.words import METRIC_NAMES, SHORT, after, banded, extremes, plural
from atlas.workflow.steps import run_step

COLUMNS, GAP = 4, 16  # of panels; pixels between them
SIDE = (WIDTH + 40) / COLUMNS - GAP - 28
HEIGHT = 84
MOST = 30  # sessions of a line
NEVER = "never taught"
TABLE = {
    "Arm": ("arm", TEXT),
    "After session": ("sessions", COUNT),
    "Facts": ("series", TEXT),
    "Value": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Seeds": ("n_seeds", COUNT),
    "Facts a seed": ("n_facts", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One block of panels a metric."""
    rows, palette = joined(tables), colours(tables.names)
    blocks = []
    for metric, part in rows.groupby("metric", sort=False):
        # an arm that began in the middle of a study may have no curve
        arms = [arm for arm in palette if arm in set(part["arm"])]
        panels = [panel(part, arm, palette[arm], limits(part)) for arm in arms]
        heading = alt.TitleParams(METRIC_NAMES[str(metric)], fontSize=13, offset=8)
        blocks.append(alt.concat(*panels, columns=COLUMNS, spacing=GAP, title=heading))
    lines = rows[rows["series"] != NEVER]
    return alt.vconcat(*blocks, spacing=28).properties(title=title(finding(lines), subtitle(lines)))


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


def limits(rows: pd.DataFrame) -> list[float]:
    """Ends of the scale: from 0, unless all values lie high; lines need no zero to be read."""
    values = rows["value"].to_numpy()
    bottom = np.floor(10 * values.min()) / 10
    return [float(bottom) if bottom >= 0.5 else 0.0, float(min(1.0, max(0.05, 1.1 * values.max())))]


def panel(rows: pd.DataFrame, arm: str, colour: str, domain: list[float]) -> alt.LayerChart:
    """One arm, named with what it ends at."""
    mine = rows[(rows["arm"] == arm) & (rows["series"] != NEVER)]
    end = mine.sort_values("sessions").iloc[-1]
    chart = alt.Chart(rows).transform_calculate(own=f"datum.arm === '{arm}'")
    layers = lines(chart, alt.value(colour), alt.Scale(domain=domain, nice=False))
    heading = alt.TitleParams(f"{arm} · {end['value']:.0%}", fontSize=12, offset=4)
    return layers.properties(width=SIDE, height=HEIGHT, title=heading)


def lines(chart: alt.Chart, colour: alt.Color | dict[str, object], scale: alt.Scale) -> alt.LayerChart:
    """Rows that are not ``own`` in grey, those that are in colour with their band, placebo as squares."""
    x = alt.X("sessions:Q", title=None, axis=alt.Axis(grid=False, tickMinStep=1, tickCount=4, format="d"))
    axis = alt.Axis(format="%", tickCount=3, title=None)
    y = alt.Y("value:Q", axis=axis, scale=scale)
    taught = chart.transform_filter(f"datum.series !== '{NEVER}'")
    others = taught.transform_filter("!datum.own").mark_line(strokeWidth=1, color=BAND, clip=True)
    own = taught.transform_filter("datum.own")
    # the first sessions rest on a handful of facts: their bands may leave the frame
    bands = own.mark_area(opacity=0.22, clip=True).encode(x=x, y=y_of(y, "ci_low"), y2="ci_high:Q", color=colour)
    never = chart.transform_filter(f"datum.own && datum.series === '{NEVER}'")
    whiskers = never.mark_rule(color=PLACEBO, clip=True).encode(x=x, y=y_of(y, "ci_low"), y2="ci_high:Q")
    squares = never.mark_point(shape="square", size=34, fill=PAPER, color=PLACEBO, opacity=1, strokeWidth=1.4)
    return alt.layer(
        others.encode(x=x, y=y, detail="arm:N"),
        bands,
        own.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        whiskers,
        squares.encode(x=x, y=y, tooltip=_tooltip()),
    )


def y_of(y: alt.Y, column: str) -> alt.Y:
    """The same axis and scale for another column."""
    return alt.Y(f"{column}:Q", **{key: value for key, value in y.to_dict().items() if key in ("axis", "scale")})


def _tooltip() -> list[alt.Tooltip]:
    counts = {"sessions": "after session", "n_seeds": "seeds", "n_facts": "facts a seed"}
    return [
        *(alt.Tooltip(f"{name}:N", title=title) for name, title in {"arm": "arm", "series": "facts"}.items()),
        *share_tips("value"),
        *(alt.Tooltip(f"{name}:Q", title=title) for name, title in counts.items()),
    ]


def live(tables: Tables) -> Figure:
    """One metric at a time, up to the sessions that are chosen."""
    rows, palette = joined(tables), colours(tables.names)
    colour = hue(palette)
    y = alt.Scale(domain=[0, {"expr": TOP}], nice=False)
    data = alt.Chart(alt.NamedData(name=ROWS))
    hovered = data.transform_filter(f"datum.own && datum.series !== '{NEVER}'").mark_point(size=60, opacity=0)
    points = hovered.encode(x="sessions:Q", y=alt.Y("value:Q", scale=y), tooltip=_tooltip())
    chart = (lines(data, colour, y) + points).add_params(alt.param(name=TOP, value=1))
    checkpoints = sorted(set(tables.retention["sessions"]))
    taught = rows[rows["series"] != NEVER]
    ends = {cell: part for cell, part in cells(taught) if cell[1] in checkpoints}
    return Figure(
        name="curve",
        table="curve",
        rows=rows,
        chart=chart.properties(width="container", height=HEIGHT + 20),
        columns=TABLE,
        said={cell: (f"{ending(part, *cell)}.", " ".join(subtitle(part))) for cell, part in ends.items()},
        until=True,
        repeat=True,
        top="value",
    )


def ending(rows: pd.DataFrame, metric: str, sessions: int) -> str:
    """How much of all that was taught is left, over the arms."""
    return extremes(rows, f"{SHORT[metric]} of all facts taught so far, after {sessions} sessions")


def finding(rows: pd.DataFrame) -> str:
    """How much of all that was taught is recalled at the end."""
    last = rows[(rows["sessions"] == rows["sessions"].max()) & (rows["metric"] == "recall")]
    return extremes(last, f"Still recalled {after(last['sessions'].iloc[0])}")


def subtitle(rows: pd.DataFrame) -> list[str]:
    """What a point of the lines is, seeds, facts and intervals."""
    seeds, facts = int(rows["n_seeds"].max()), int(rows["n_facts"].max())
    return [
        f"Share of all facts taught so far, session after session (to the right); {plural(seeds, 'seed')}, "
        f"{plural(facts, 'fact')} at the end.",
        f"{banded(rows)} Grey lines: the other arms. Squares: facts never taught (placebo), at the checkpoints.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
