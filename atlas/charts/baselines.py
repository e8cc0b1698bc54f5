"""Chart of the baselines: recall of all facts taught so far against their number, for editors and for fine-tuning."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts.curve import thinned
from atlas.charts.live import COUNT, ROWS, SHARE, TEXT, Figure
from atlas.charts.output import single_chart
from atlas.charts.scatter import GAP, HEIGHT, NAMES
from atlas.charts.tables import Tables
from atlas.charts.theme import SOFT, WIDTH, colours, hue, share_tips, title
from atlas.charts.words import banded, extremes, percent, plural
from atlas.tables.intervals import Floats
from atlas.workflow.steps import run_step

ADAPTERS = "lora"
METRIC = "efficacy"
NAMED = 0.05  # recall at the end of a line, at least, for its name beside it on the page
TICKS = [count * tens for tens in (1, 10, 100, 1000) for count in (1, 3)]
TABLE = {
    "Arm": ("arm", TEXT),
    "Method": ("method", TEXT),
    "Facts taught": ("edits", COUNT),
    "Recall": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Seeds": ("n_seeds", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One panel for editors and one for fine-tuning, adapters grey in both; lines are named where they end."""
    rows, palette = without_variants(recall(tables), tables.arms), colours(tables.names)
    palette |= dict.fromkeys(rows.loc[rows["method"] == ADAPTERS, "arm"], SOFT)  # they stand beside arms of any colour
    top = max(0.05, 1.05 * float(rows["value"].max()))
    panels = []
    for heading, part in families(rows).items():
        chart = lines(alt.Chart(part), palette, alt.Scale(domain=[0, top], nice=False, clamp=True))
        named = chart + names(part, palette, top)
        panels.append(
            named.properties(width=WIDTH - NAMES, height=HEIGHT, title=alt.TitleParams(heading, fontSize=13, offset=8))
        )
    return alt.vconcat(*panels, spacing=26).properties(title=title(finding(rows), subtitle(rows)))


def recall(tables: Tables) -> pd.DataFrame:
    """Recall by arm and number of edits; of long runs some of the sessions, their checkpoints among them."""
    frame = tables.baselines
    points = set(frame.loc[frame["metric"] != METRIC, "sessions"])
    rows = frame[frame["metric"] == METRIC]
    kept = thinned(sorted(set(rows["sessions"])), points)
    return rows[rows["sessions"].isin(kept)].drop(columns=["metric", "contract"]).reset_index(drop=True)


def without_variants(rows: pd.DataFrame, arms: pd.DataFrame) -> pd.DataFrame:
    """The rows without adapters that vary another arm: one of each place and recipe stays, the first, of one rank and
    on the base as it is. Baselines all stay."""
    adapters = arms[arms["method"] == ADAPTERS]
    plain = adapters[(adapters["reinit"] == "") & ~adapters["ranks"].str.contains(",")]
    kept = {*plain.drop_duplicates(["targets", "recipe"])["arm"], *arms.loc[arms["method"] != ADAPTERS, "arm"]}
    return rows[rows["arm"].isin(kept)]


def families(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each panel by its heading: a family with the adapters, where the study has any of it."""
    tuned, adapters = rows["method"] == "finetune", rows["method"] == ADAPTERS
    parts = {"Editors": ~tuned & ~adapters, "Fine-tuning of whole matrices": tuned}
    return {heading: rows[mine | adapters] for heading, mine in parts.items() if mine.any()}


def lines(chart: alt.Chart, palette: dict[str, str], scale: alt.Scale) -> alt.LayerChart:
    """A line an arm with its band, over the number of facts taught; adapters are dashed and have none."""
    axis = alt.Axis(grid=False, title="facts taught", format="d", values=TICKS)
    x = alt.X("edits:Q", scale=alt.Scale(type="log", nice=False), axis=axis)
    shares = alt.Axis(format="%", tickCount=5, title=None)

    def y(column: str) -> alt.Y:
        return alt.Y(f"{column}:Q", scale=scale, axis=shares)

    dash = alt.condition(f"datum.method === '{ADAPTERS}'", alt.value([5, 3]), alt.value([1, 0]))
    baselines = chart.transform_filter(f"datum.method !== '{ADAPTERS}'")
    bands = baselines.mark_area(opacity=0.14, clip=True).encode(x=x, y=y("ci_low"), y2="ci_high:Q", color=hue(palette))
    drawn = chart.mark_line(strokeWidth=2).encode(
        x=x, y=y("value"), color=hue(palette), strokeDash=dash, detail="arm:N"
    )
    dots = chart.mark_point(filled=True, size=12, opacity=1).encode(
        x=x, y=y("value"), color=hue(palette), tooltip=_tooltip()
    )
    return alt.layer(bands, drawn, dots)


def names(rows: pd.DataFrame, palette: dict[str, str], top: float) -> alt.Chart:
    """The arms right of the panel, each at the height where its line ends, or as near as its neighbours leave room."""
    ends = rows.sort_values("edits", kind="stable").groupby("arm", sort=False).tail(1)
    at = apart(ends["value"].to_numpy(float), top * GAP / HEIGHT, top)
    label = [f"{arm} {percent(value)}" for arm, value in zip(ends["arm"], ends["value"], strict=True)]
    texts = alt.Chart(ends.assign(at=at, label=label)).mark_text(align="left", dx=8, fontSize=12, baseline="middle")
    return texts.encode(x=alt.value(WIDTH - NAMES), y=alt.Y("at:Q"), text="label:N", color=hue(palette))


def apart(values: Floats, gap: float, top: float) -> Floats:
    """Heights as near to ``values`` as they can be from 0 up that are at least ``gap`` apart; in the order of values.

    Heights are pushed up where they are too close, and then down from ``top``; where there is no room for all, below 0.
    """
    order, heights = np.argsort(values, kind="stable"), np.array(values, float)
    ranked = heights[order]
    for i in range(1, len(ranked)):
        ranked[i] = max(ranked[i], ranked[i - 1] + gap)
    limit = top
    for i in reversed(range(len(ranked))):
        ranked[i] = min(ranked[i], limit)
        limit = ranked[i] - gap
    heights[order] = ranked
    return heights


def _tooltip() -> list[alt.Tooltip]:
    counts = {"edits": "facts taught", "sessions": "after session", "n_seeds": "seeds"}
    return [
        *(alt.Tooltip(f"{name}:N") for name in ("arm", "method")),
        *share_tips("recall"),
        *(alt.Tooltip(f"{name}:Q", title=title) for name, title in counts.items()),
    ]


def live(tables: Tables) -> Figure:
    """All arms that are chosen in one panel, up to the sessions that are chosen.

    Lines that end low have no names, which would lie upon each other there.
    """
    rows, palette = without_variants(recall(tables), tables.arms), colours(tables.names)
    data = alt.Chart(alt.NamedData(name=ROWS))
    last = data.transform_joinaggregate(last="max(edits)", groupby=["arm"]).transform_filter(
        f"datum.edits == datum.last && datum.value >= {NAMED}"
    )
    texts = last.mark_text(align="right", dy=-9, fontSize=11).encode(
        x="edits:Q", y="value:Q", text="arm:N", color=hue(palette)
    )
    chart = lines(data, palette, alt.Scale(zero=True)) + texts
    checkpoints = sorted(set(tables.retention["sessions"]))
    reached = {int(sessions): rows[rows["sessions"] <= sessions] for sessions in checkpoints}
    return Figure(
        name="baselines",
        table="baselines",
        rows=rows.drop(columns="at_once"),
        chart=chart.properties(width="container", height=HEIGHT + 60),
        columns=TABLE,
        said={("", s): (f"{finding(part)}.", " ".join(subtitle(part))) for s, part in reached.items()},
        until=True,
    )


def finding(rows: pd.DataFrame) -> str:
    """Most and least recall at the end, with the arms."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    return extremes(last, f"Recall of all {int(last['edits'].max()):,} facts taught")


def subtitle(rows: pd.DataFrame) -> list[str]:
    """What a point is, seeds, and what the bands are."""
    seeds = int(rows["n_seeds"].max())
    dashed = " Dashed: adapters." if (rows["method"] == ADAPTERS).any() else ""
    return [
        f"Share of all facts taught so far that greedy decoding gives exactly; {plural(seeds, 'seed')}.",
        f"{banded(rows)}{dashed}{_at_once(rows)}",
    ]


def _at_once(rows: pd.DataFrame) -> str:
    """What the points of arms are that write all facts at once."""
    arms = dict.fromkeys(rows.loc[rows["at_once"], "arm"])
    return f" {', '.join(arms)}: each point is one edit of all facts up to it." if arms else ""


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
