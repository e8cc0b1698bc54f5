"""Chart of the confound: what a mis-loaded base does to every metric, and that verification refuses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import ESSAYS, HEADLINE, has_net, last, listed, percent, seeds, span
from atlas.charts.frame import (
    ARM,
    HALF,
    RIGHT,
    Block,
    Chart,
    Panel,
    by_checkpoint,
    cells,
    horizontal,
    measured,
    said,
    told,
)
from atlas.charts.retention import SERIES
from atlas.charts.study_tables import Tables
from atlas.charts.theme import INK, SOFT, WIDTH, colours
from atlas.metrics import CHOICES, REGISTRY
from atlas.phrases import plural

ROW_HEIGHT = 34  # of an arm within a reading
MANY = 3  # arms that are named one by one, at most
FIGURES = 70  # pixels right of a panel, for the figures


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel a checkpoint, in it one row an arm under each reading; on the page facts taught, rephrased and never
    taught under one metric."""
    rows = dressed(tables.confound)
    palette = {arm: colour for arm, colour in colours(tables.names).items() if arm in set(rows["arm"])}
    pictured, means = rows[rows["reading"] != ""], rows[rows["seed"].isna()]
    basis = rests_on(tables.confound, list(palette))
    unwanted = ["reinit", "refused_by", "refused_by_manifest", "p_value", "reading"]
    yield Chart(
        name="confound",
        rows=rows.drop(columns=unwanted),
        marks=lambda panel: moves(panel, palette),
        blocks=[Block(by_checkpoint(pictured))],
        title=finding(pictured),
        subtitle=basis,
        said=said(cells(means), lambda part: [moved(part), verdict(rows)], lambda _: basis),
        columns=ARM
        | told("text", arm_reinit="Mis-loaded", series="Facts")
        | told("share", value="Certified", value_reinit="Mis-loaded base")
        | measured("Difference", "diff", "points")
        | told("count", n_seeds="Seeds"),
        width=WIDTH / rows["sessions"].nunique() - FIGURES,
        height=ROW_HEIGHT * len(palette) * pictured["reading"].nunique(),
        page_height=alt.Step(ROW_HEIGHT * 0.7),
        gap=FIGURES,
        arms=("arm", "arm_reinit"),
    )


def readings() -> dict[tuple[str, str], str]:
    """Probe and metric to what the picture calls them, from top to bottom."""
    found = {}
    for metric in CHOICES:
        found["taught", metric] = REGISTRY[metric].label.lower()
        if has_net(metric):
            found["placebo", metric] = f"{REGISTRY[metric].label.lower()}, never taught"
    return found


def dressed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their reading (empty where the picture has none), their row on the page, and their figures on both
    bases in words."""
    names, series = readings(), rows["probe"].map(SERIES)
    certified, misloaded = (rows[column].fillna(0).map(percent) for column in ("value", "value_reinit"))
    return rows.assign(
        reading=[names.get(key, "") for key in zip(rows["probe"], rows["metric"], strict=True)],
        series=series,
        row=rows["arm"] + ", " + series.str.removesuffix(" (placebo)"),
        figures=certified + " \u2192 " + misloaded,
    )


def moves(panel: Panel, palette: Mapping[str, str]) -> alt.LayerChart:
    """Differences with intervals, each seed's own as a small dot, and the figures to the right."""
    bound = max(0.05, panel.rows[["diff", "ci_low", "ci_high"]].abs().max().max())
    axis = alt.Axis(format="+.0%", title="percentage points", tickCount=5, labelOverlap=True)
    x = horizontal(axis, panel.scale(-bound, bound))
    if panel.live:
        order = [f"{arm}, {name.removesuffix(' (placebo)')}" for name in SERIES.values() for arm in palette]
        base = panel.data.encode(y=alt.Y("row:N", sort=order, axis=panel.names(limit=HALF)))
    else:
        order = [name for name in readings().values() if name in set(panel.rows["reading"])]
        base = panel.data.encode(
            y=alt.Y("reading:N", sort=order, title=None), yOffset=alt.YOffset("arm:N", sort=list(palette))
        )
    hues = alt.Scale(domain=list(palette), range=list(palette.values()))
    base = base.encode(color=alt.Color("arm:N", scale=hues, legend=None if panel.live else panel.legend()))
    over_all, by_seed = (base.transform_filter(f"{test}isValid(datum.seed)") for test in ("!", ""))
    zero = alt.Chart(panel.data.data).mark_rule(color=SOFT, strokeDash=[3, 3]).encode(x=alt.datum(0))
    seed = by_seed.mark_point(size=26, strokeWidth=1, opacity=0.75)
    mean = over_all.mark_point(filled=True, size=70, opacity=1)
    figures = over_all.mark_text(align="left", dx=6, fontSize=11)
    return alt.layer(
        zero,
        over_all.mark_rule(strokeWidth=2).encode(x=x("ci_low"), x2="ci_high:Q"),
        seed.encode(x=x("diff")),
        mean.encode(x=x("diff"), tooltip=panel.tips),
        figures.encode(x=RIGHT, text="figures:N", color=alt.value(INK)),
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """What the mis-loaded base does to recall and to facts never taught, and whether it is refused."""
    ended, names = last(rows[rows["seed"].isna()]), readings()
    shown = (names["taught", HEADLINE], names["placebo", ESSAYS])
    changes = [f"{reading} {from_to(ended[ended['reading'] == reading])}" for reading in shown]
    return [f"On a mis-loaded base: {'; '.join(changes)}", verdict(rows)]


def moved(rows: pd.DataFrame) -> str:
    """What the mis-loaded base does to the metric of the rows."""
    taught = rows[rows["probe"] == "taught"]
    return f"On a mis-loaded base: {REGISTRY[rows['metric'].iloc[0]].label.lower()} of taught facts {from_to(taught)}"


def from_to(rows: pd.DataFrame) -> str:
    """From what to what each arm goes; the ranges where there are many."""
    if len(rows) > MANY:
        certified, misloaded = (span(rows[column].min(), rows[column].max()) for column in ("value", "value_reinit"))
        return f"{certified} \u2192 {misloaded} ({len(rows)} arms)"
    return listed(f"{row['figures']} ({row['arm']})" for row in rows.to_dict("records"))


def verdict(rows: pd.DataFrame) -> str:
    """What verification says of the mis-loaded bases."""
    without, given = (set(rows[column]) for column in ("refused_by", "refused_by_manifest"))
    if "" in given:
        return "Verification accepts the mis-loaded base"
    if "" in without:
        return "Verification refuses the mis-loaded base, but not without the manifest"
    return "Verification refuses the mis-loaded base, even without a manifest"


def rests_on(rows: pd.DataFrame, arms: list[str]) -> list[str]:
    """Which base, which checks refuse it, which colour is which arm, seeds and intervals."""
    first, names = rows.iloc[0], dict(zip(rows["arm"], rows["arm_reinit"], strict=True))
    rests = f"{plural(int(first['bases']), 'base')}, {plural(int(first['draws']), 'draw')} of the re-initialisation"
    block = first["refused_seeds"].split(",")
    without, given = (listed(first[f"refused_by{how}"].split(",")) or "no check" for how in ("", "_manifest"))
    many = rows["n_seeds"].max() > 1
    bars = "bars: 95% interval of the mean difference" if many else "one seed cannot show how much seeds differ"
    pairs = f" ({listed(f'{names[arm]} minus {arm}' for arm in arms)})" if len(arms) <= MANY else ""
    return [
        f"A loader that misses {listed(first['reinit'].split(','))} in every layer. As drawn for "
        f"seed{'s' * (len(block) > 1)} {listed(block)}, refused without a manifest by {without}; with it by {given}.",
        f"Differences, mis-loaded minus certified{pairs}; figures: certified \u2192 mis-loaded.",
        f"{seeds(rows)} on {rests}; small dots: each seed's own paired difference; {bars}.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
