"""Chart of the baselines: recall of all facts taught so far against their number, for editors and for fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import altair as alt
import pandas as pd

from atlas.charts import picture, scatter
from atlas.charts.curve import thinned
from atlas.charts.findings import extremes, interval, last, seeds
from atlas.charts.frame import ARM, BASIS, Block, Chart, Panel, measured, said, told, up_to, vertical
from atlas.charts.study_tables import Tables
from atlas.charts.theme import SOFT, colours, hue

ADAPTERS = "lora"
METRIC = "efficacy"
NAMED = 0.05  # recall at the end of a line, at least, for its name beside it on the page
TICKS = [count * tens for tens in (1, 10, 100, 1000) for count in (1, 3)]


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel for editors and one for fine-tuning; on the page all arms in one, up to the sessions chosen."""
    rows, palette = without_variants(recall(tables), tables.arms), colours(tables.names)
    # in the picture adapters stand beside arms of any colour
    grey = palette | dict.fromkeys(rows.loc[rows["method"] == ADAPTERS, "arm"], SOFT)
    top = max(0.05, 1.05 * float(rows["value"].max()))
    yield Chart(
        name="baselines",
        rows=rows.drop(columns="at_once"),
        marks=lambda panel: lines(panel, palette if panel.live else grey, top),
        blocks=[Block([panel], across=1) for panel in families(rows).items()],
        title=finding(rows),
        subtitle=rests_on(rows),
        said=said(up_to(rows, tables.retention["sessions"]), finding, rests_on),
        columns=ARM | told("text", method="Method") | told("count", edits="Facts taught") | measured("Recall") | BASIS,
        **scatter.BESIDE_NAMES,
        spacing=26,
        titles={"fontSize": 13, "offset": 8},
        until=True,
    )


def recall(tables: Tables) -> pd.DataFrame:
    """Recall by arm and number of edits; of long runs some of the sessions, their checkpoints among them."""
    frame = tables.baselines
    points = set(frame.loc[frame["metric"] != METRIC, "sessions"])
    rows = frame[frame["metric"] == METRIC]
    kept = thinned(sorted(set(rows["sessions"])), points)
    return rows[rows["sessions"].isin(kept)].drop(columns=["metric", "contract"]).reset_index(drop=True)


def without_variants(rows: pd.DataFrame, arms: pd.DataFrame) -> pd.DataFrame:
    """The rows without adapters that vary another arm: one of each place and recipe stays, the first, of one rank and
    on the base as it is. Baselines all stay; adapters of plugins are no baselines."""
    adapters = arms[arms["method"] == ADAPTERS]
    plain = adapters[(adapters["reinit"] == "") & ~adapters["ranks"].str.contains(",")]
    kept = {*plain.drop_duplicates(["targets", "recipe"])["arm"], *arms.loc[~arms["adapts"], "arm"]}
    return rows[rows["arm"].isin(kept)]


def families(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each panel by its heading: a family with the adapters, where the study has any of it."""
    tuned, adapters = rows["method"] == "finetune", rows["method"] == ADAPTERS
    parts = {"Editors": ~tuned & ~adapters, "Fine-tuning of whole matrices": tuned}
    return {heading: rows[mine | adapters] for heading, mine in parts.items() if mine.any()}


def lines(panel: Panel, palette: Mapping[str, str], top: float) -> alt.LayerChart:
    """A line an arm with its band, over the number of facts taught; adapters are dashed and have none.

    Arms are named beside where their lines end; on the page above the end, but for lines that end low, whose names
    would lie upon each other there.
    """
    scale = alt.Scale(zero=True) if panel.live else alt.Scale(domain=[0, top], nice=False, clamp=True)
    y = vertical(alt.Axis(format="%", tickCount=5, title=None), scale)
    axis = alt.Axis(grid=False, title="facts taught", format="d", values=TICKS)
    x = alt.X("edits:Q", scale=alt.Scale(type="log", nice=False), axis=axis)
    dash = alt.condition(f"datum.method === '{ADAPTERS}'", alt.value([5, 3]), alt.value([1, 0]))
    base = panel.data.encode(x=x, color=hue(palette))
    bands = base.transform_filter(f"datum.method !== '{ADAPTERS}'").mark_area(opacity=0.14, clip=True)
    layers = [
        bands.encode(y=y("ci_low"), y2="ci_high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y("value"), strokeDash=dash, detail="arm:N"),
        base.mark_point(filled=True, size=12, opacity=1).encode(y=y("value"), tooltip=panel.tips),
    ]
    if not panel.live:
        ends = panel.rows.sort_values("edits", kind="stable").groupby("arm", sort=False).tail(1)
        return alt.layer(*layers, scatter.names(ends, palette, 0, top))
    end = f"datum.edits == datum.last && datum.value >= {NAMED}"
    ended = base.transform_joinaggregate(last="max(edits)", groupby=["arm"]).transform_filter(end)
    return alt.layer(*layers, ended.mark_text(align="right", dy=-9, fontSize=11).encode(y="value:Q", text="arm:N"))


def finding(rows: pd.DataFrame) -> list[str]:
    """Most and least recall at the end, with the arms."""
    ended = last(rows)
    return [extremes(ended, f"Recall of all {int(ended['edits'].max()):,} facts taught")]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """What a point is, seeds, what the bands are, and what the points of arms are that write all facts at once."""
    dashed = " Dashed: adapters." if (rows["method"] == ADAPTERS).any() else ""
    at_once = ", ".join(dict.fromkeys(rows.loc[rows["at_once"], "arm"]))
    each = f" {at_once}: each point is one edit of all facts up to it." if at_once else ""
    return [
        f"Share of all facts taught so far that greedy decoding gives exactly; {seeds(rows)}.",
        f"{interval(rows, 'Bands')}.{dashed}{each}",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
