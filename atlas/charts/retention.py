"""Chart of retention: by arm, metric and checkpoint, with the placebo and the essay's figures beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import (
    AMONG_TAUGHT,
    ESSAYS,
    HEADLINE,
    after,
    basis,
    extremes,
    familiar,
    familiarity,
    has_net,
    last,
    left_out,
    placebo_warning,
)
from atlas.charts.frame import ARM, BASIS, Block, Chart, Panel, by_checkpoint, cells, horizontal, measured, said, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import INK, PAPER, PLACEBO, SOFT, WIDTH, colours
from atlas.metrics import OF_FACTS, REGISTRY
from atlas.tables.ledger import retention_figures

ESSAY = "the essay's figure"
NEVER, HOLLOW = "never taught (placebo)", "hollow"
FAMILIAR = "a taught answer first"
SERIES = {"taught": "taught", "rephrase": "rephrased", "placebo": NEVER}
SERIES |= {"neighbour": "a neighbour", "hop": "what follows", "reversed": "asked for the subject"}
SHAPES = {
    "taught": "circle",
    "rephrased": "diamond",
    "a neighbour": "cross",
    "what follows": "M-1,.6L-.4,-.6L1,-.6L.4,.6Z",  # a parallelogram; SVG paths in a box from -1 to 1
    "asked for the subject": "M-.8,-.4L0,-.9L.8,-.4L.8,.4L0,.9L-.8,.4Z",  # a hexagon
    NEVER: "square",
    FAMILIAR: "triangle-up",
    ESSAY: "M-.8,-.8L.8,.8M-.8,.8L.8,-.8",  # a thin cross
}
PAGE_HEIGHT = alt.Step(8)  # from one of a row's dots to the next
COLUMNS = ARM | told("text", series="Facts") | measured() | told("share", placebo="Placebo", chance="Chance") | BASIS
COLUMNS |= told("count", left_out="Left out")


@dataclass(frozen=True)
class Look:
    """What the rows of dots are, from top to bottom, and which colours they have."""

    y: str  # column with the names of the rows
    order: Sequence[str]  # these names
    palette: Mapping[str, str]
    series: Sequence[str]  # what the dots stand for, as the legend has it
    hue: str = "arm"  # column that decides the colour


def charts(tables: Tables) -> Iterator[Chart]:
    """One row of panels a metric, one column a checkpoint."""
    rows, palette = page_rows(tables), colours(tables.names)
    whole = rows[rows["domain"] == "all"]
    ours = whole[whole["series"] != ESSAY]
    look = Look("arm", list(palette), palette, series_of(rows))
    note = ["The essay's retention is read as recognition; it rests on one seed."] if ESSAY in look.series else []
    yield Chart(
        name="retention",
        rows=rows,
        marks=lambda panel: dots(panel, look),
        blocks=[
            Block(by_checkpoint(whole[whole["metric"] == metric]), REGISTRY[metric].title)
            for metric in OF_FACTS
            if metric in set(whole["metric"])
        ],
        title=[finding(last(ours), HEADLINE)[0], finding(last(ours), ESSAYS)[-1]],
        subtitle=[*rests_on(ours[ours["metric"].isin(OF_FACTS)]), *note],
        said=said(cells(ours), finding, rests_on),
        columns=COLUMNS,
        width=width_of(whole),
        height=height_of(whole),
        page_height=PAGE_HEIGHT,
        spacing=30,
        where={"domain": ["all"]},
    )


def page_rows(tables: Tables) -> pd.DataFrame:
    """The table as the page has it: of single domains only facts as taught, and the essay's figures."""
    rows = dressed(tables.retention)
    rows = rows[(rows["domain"] == "all") | (rows["probe"] == "taught")]
    some = rows[(rows["domain"] == "all") & (rows["metric"] == ESSAYS)]
    some = some[["arm", "sessions", "probe", "metric", "domain"]]
    figures = retention_figures().query("domain == 'all'")[["arm", "sessions", "probe", "value"]]
    essay = some.merge(figures, on=["arm", "sessions", "probe"]).assign(series=ESSAY)
    columns = ["arm", "sessions", "probe", "series", "metric", "domain", "n_seeds", "n_facts", "n_tests", "left_out"]
    shown = [*columns, "value", "ci_low", "ci_high", "placebo", "chance", "familiarity"]
    return pd.concat([rows, essay], ignore_index=True)[shown]


def dressed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the series of each row (its shape and its place in the legend) and the placebo beside it.

    The placebo of association is familiarity, how often a taught answer comes first on prompts never taught; of no
    other metric chance is drawn.
    """
    cell, others = ["arm", "sessions", "metric", "domain"], rows["familiarity"].isna()
    rows = rows.assign(
        **{name: rows[name].where(others, figure) for name, figure in familiarity(rows).items()},
        series=rows["probe"].map(SERIES).where(others, FAMILIAR),
        chance=rows["chance"].where(rows["metric"] == AMONG_TAUGHT),
    )
    placebo = rows[rows["probe"] == "placebo"].set_index(cell)["value"].rename("placebo")
    return rows.join(placebo, on=cell)


def width_of(rows: pd.DataFrame) -> float:
    """Of a panel, where there is one a checkpoint."""
    return WIDTH / rows["sessions"].nunique() - 20


def height_of(rows: pd.DataFrame) -> alt.Step:
    """Of a row of dots, with room for what each of them asks."""
    return alt.Step(32 + 10 * max(0, rows["probe"].nunique() - 3), **{"for": "position"})


def series_of(rows: pd.DataFrame) -> list[str]:
    """What the dots of some rows stand for, in the order of the legend."""
    return [name for name in SHAPES if name in set(rows["series"])]


def dots(panel: Panel, look: Look) -> alt.LayerChart:
    """Intervals, and dots upon them: filled where facts were taught, hollow where not asked as taught."""
    ticks = {"tickCount": 5} if panel.live else {"values": [0, 0.25, 0.5, 0.75, 1]}
    x = horizontal(alt.Axis(format="%", title=None, labelFlush=False, **ticks), panel.scale(-0.03, 1.03))
    # the placebo's grey, ink for the essay's figures, and paper inside hollow dots
    hues = {**look.palette, NEVER: PLACEBO, FAMILIAR: PLACEBO, ESSAY: INK, HOLLOW: PAPER}
    scale = alt.Scale(domain=list(hues), range=list(hues.values()))
    shapes = alt.Scale(domain=list(look.series), range=[SHAPES[name] for name in look.series])
    columns = {"columns": 4} if len(look.series) > 5 else {}
    legend = panel.legend(symbolFillColor=PAPER, symbolStrokeColor=INK, symbolStrokeWidth=1.5, **columns)
    apart = f"datum.probe == 'placebo' || datum.series == {json.dumps(ESSAY)}"
    # hollow dots are filled with paper, so that their own bar does not run through them
    inside = f"datum.series == 'taught' ? datum.{look.hue} : '{HOLLOW}'"
    # names are as wide in all blocks, so that their panels stand below each other
    names = panel.names(6.8 * max(map(len, look.order)) + 12)
    base = panel.data.transform_calculate(hue=f"{apart} ? datum.series : datum.{look.hue}", inside=inside).encode(
        y=alt.Y(f"{look.y}:N", sort=list(look.order), axis=names),
        yOffset=alt.YOffset("probe:N", sort=list(SERIES), scale=alt.Scale(paddingOuter=0.6)),
        color=alt.Color("hue:N", scale=scale, legend=None),
    )
    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=2)
    points = base.mark_point(size=46, strokeWidth=1.8, opacity=1).encode(
        x=x("value"),
        shape=alt.Shape("series:N", scale=shapes, legend=legend),
        fill=alt.Fill("inside:N", scale=scale, legend=None),
        tooltip=panel.tips,
    )
    # that of facts as taught: one line for all arms, which are asked among the same answers
    chance = panel.data.transform_filter("datum.probe == 'taught' && isValid(datum.chance)")
    line = chance.mark_rule(color=SOFT, strokeDash=[3, 3]).encode(x=x("mean(chance)"))
    return alt.layer(line, bars.encode(x=x("ci_low"), x2="ci_high:Q"), points)


def finding(rows: pd.DataFrame, metric: str = "") -> list[str]:
    """The range of a metric (that of the rows, if they have one) over the arms, and the placebo beside it."""
    metric = metric or str(rows["metric"].iloc[0])
    rows = rows[rows["metric"] == metric]
    taught, placebo = rows[rows["probe"] == "taught"], rows[rows["probe"] == "placebo"]
    range_ = extremes(taught, f"{REGISTRY[metric].label} {after(rows['sessions'].iloc[0])}")
    if metric == AMONG_TAUGHT:
        return [range_, familiar(rows)]
    if placebo.empty:
        return [range_]
    return [range_, placebo_warning(placebo) if has_net(metric) else extremes(placebo, "Facts never taught")]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """Seeds, facts and intervals, and how association is to be read."""
    chance = "Dashed: chance of association. Triangles: prompts never taught on which a taught answer comes first."
    explained = [chance] if AMONG_TAUGHT in set(rows["metric"]) else []
    return [f"{basis(rows[rows['probe'] == 'taught'])}.", *explained, *left_out(rows)]


if __name__ == "__main__":
    picture.step(__doc__, charts)
