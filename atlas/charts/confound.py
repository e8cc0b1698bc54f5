"""Chart of the confound: what a mis-loaded base does to every metric, and that verification refuses it."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from atlas.charts.dots import SERIES
from atlas.charts.live import COUNT, HALF, POINTS, ROWS, SHARE, TEXT, Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import INK, SOFT, WIDTH, colours, title
from atlas.charts.words import SHORT, listed, percent, plural, span
from atlas.workflow.steps import run_step

READINGS = {
    ("taught", "recall"): "recall",
    ("taught", "ranked"): "ranked",
    ("taught", "recognition"): "recognition",
    ("placebo", "recognition"): "recognition, never taught",
    ("taught", "recognition_net"): "recognition, net of placebo",
}
"""Probe and metric to what the chart calls them, from top to bottom."""

ROW_HEIGHT = 34  # of an arm within a reading
MANY = 3  # arms that are named one by one, at most
FIGURES = 70  # pixels right of a panel, for the figures
TABLE = {
    "Arm": ("arm", TEXT),
    "Mis-loaded": ("arm_reinit", TEXT),
    "Facts": ("series", TEXT),
    "Certified": ("value", SHARE),
    "Mis-loaded base": ("value_reinit", SHARE),
    "Difference": ("diff", POINTS),
    "95% interval": ("ci_low ci_high", POINTS),
    "Seeds": ("n_seeds", COUNT),
}


def draw(tables: Tables) -> alt.FacetChart:
    """One panel a checkpoint; in it one row an arm under each reading."""
    rows, palette = dressed(tables.confound), colours(tables.names)
    columns = list(dict.fromkeys(rows.sort_values("sessions")["panel"]))
    arms = [arm for arm in tables.names if arm in set(rows["arm"])]
    bound = max(0.05, rows[["diff", "ci_low", "ci_high"]].abs().max().max())
    readings = [name for name in READINGS.values() if name in set(rows["reading"])]
    width = WIDTH / len(columns) - FIGURES
    legend = alt.Legend(orient="top", title=None)
    offset = alt.YOffset("arm:N", sort=arms)
    base = alt.Chart(rows).encode(y=alt.Y("reading:N", sort=readings, title=None), yOffset=offset)
    scale = alt.Scale(domain=[-bound, bound], nice=False)
    shown = layers(base, scale, {arm: palette[arm] for arm in arms}, alt.value(width), legend)
    panel = shown.properties(width=width, height=ROW_HEIGHT * len(arms) * len(readings))
    facets = panel.facet(column=alt.Column("panel:N", sort=columns), spacing=FIGURES)
    return facets.properties(title=title(finding(rows), subtitle(rows, arms)))


def layers(
    base: alt.Chart, scale: alt.Scale, palette: Mapping[str, str], right: dict[str, object], legend: alt.Legend | None
) -> alt.LayerChart:
    """Differences with intervals, each seed's own as a small dot, and the figures to the right."""
    axis = alt.Axis(format="+.0%", title="percentage points", tickCount=5, labelOverlap=True)
    x = alt.X("diff:Q", axis=axis, scale=scale)
    hues = alt.Scale(domain=list(palette), range=list(palette.values()))
    base = base.encode(color=alt.Color("arm:N", scale=hues, legend=legend))
    over_all, by_seed = (base.transform_filter(f"{test}isValid(datum.seed)") for test in ("!", ""))
    zero = alt.Chart(base.data).mark_rule(color=SOFT, strokeDash=[3, 3]).encode(x=alt.datum(0))
    bars = over_all.mark_rule(strokeWidth=2).encode(x=alt.X("ci_low:Q"), x2="ci_high:Q")
    seeds = by_seed.mark_point(size=26, strokeWidth=1, opacity=0.75).encode(x=x)
    means = over_all.mark_point(filled=True, size=70, opacity=1).encode(x=x, tooltip=_tooltip())
    figures = over_all.mark_text(align="left", dx=6, fontSize=11).encode(
        x=right, text="figures:N", color=alt.value(INK)
    )
    return alt.layer(zero, bars, seeds, means, figures)


def live(tables: Tables) -> Figure:
    """One metric and checkpoint at a time: facts taught, asked in other words, and never taught."""
    rows = worded(tables.confound).assign(series=lambda frame: frame["probe"].map(SERIES))
    rows = rows.drop(columns=["reinit", "refused_by", "refused_by_manifest", "p_value"])
    rows = rows.assign(row=rows["arm"] + ", " + rows["series"].str.replace(" (placebo)", ""))
    palette = {arm: colour for arm, colour in colours(tables.names).items() if arm in set(rows["arm"])}
    order = [f"{arm}, {name.replace(' (placebo)', '')}" for name in SERIES.values() for arm in palette]
    names = alt.Axis(labelLimit=HALF)
    base = alt.Chart(alt.NamedData(name=ROWS)).encode(y=alt.Y("row:N", sort=order, title=None, axis=names))
    chart = layers(base, alt.Scale(zero=True), palette, alt.value("width"), legend=None)
    means, how = rows[rows["seed"].isna()], " ".join(subtitle(tables.confound, list(palette)))
    return Figure(
        name="confound",
        table="confound",
        rows=rows,
        chart=chart.properties(width="container", height=alt.Step(ROW_HEIGHT * 0.7)),
        columns=TABLE,
        said={cell: (f"{_moved(part, cell[0])}. {verdict(tables.confound)}.", how) for cell, part in cells(means)},
        arms=("arm", "arm_reinit"),
    )


def _moved(rows: pd.DataFrame, metric: str) -> str:
    taught = rows[rows["probe"] == "taught"]
    return f"On a mis-loaded base: {SHORT[metric].lower()} of taught facts {moves(taught)}"


def worded(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their figures on both bases in words."""
    before, after = (rows[column].fillna(0).map(percent) for column in ("value", "value_reinit"))
    return rows.assign(figures=before + " \u2192 " + after)


def dressed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that the chart shows, with what it calls them, their panel and figures."""
    rows = rows.assign(reading=[READINGS.get(key, "") for key in zip(rows["probe"], rows["metric"], strict=True)])
    rows = rows[rows["reading"] != ""]
    return worded(rows).assign(panel=[f"after {sessions} sessions" for sessions in rows["sessions"]])


def finding(rows: pd.DataFrame) -> list[str]:
    """What the mis-loaded base does to recall and to facts never taught, and whether it is refused."""
    last = rows[rows["seed"].isna() & (rows["sessions"] == rows["sessions"].max())]
    said = [
        f"{reading} {moves(last[last['reading'] == reading])}" for reading in ("recall", "recognition, never taught")
    ]
    return [f"On a mis-loaded base: {'; '.join(said)}", verdict(rows)]


def moves(rows: pd.DataFrame) -> str:
    """From what to what each arm goes; the ranges where there are many."""
    if len(rows) > MANY:
        before, after = (span(rows[column].min(), rows[column].max()) for column in ("value", "value_reinit"))
        return f"{before} \u2192 {after} ({len(rows)} arms)"
    return listed(f"{row['figures']} ({row['arm']})" for row in rows.to_dict("records"))


def verdict(rows: pd.DataFrame) -> str:
    """What verification says of the mis-loaded bases."""
    without, given = (set(rows[column]) for column in ("refused_by", "refused_by_manifest"))
    if "" in given:
        return "Verification accepts the mis-loaded base"
    if "" in without:
        return "Verification refuses the mis-loaded base, but not without the manifest"
    return "Verification refuses the mis-loaded base, even without a manifest"


def subtitle(rows: pd.DataFrame, arms: list[str]) -> list[str]:
    """Which base, which checks refuse it, which colour is which arm, seeds and intervals."""
    first, names = rows.iloc[0], dict(zip(rows["arm"], rows["arm_reinit"], strict=True))
    missed = listed(str(first["reinit"]).split(","))
    seeds = int(rows["n_seeds"].max())
    bars = "bars: 95% interval of the mean difference" if seeds > 1 else "one seed cannot show how much seeds differ"
    pairs = f" ({listed(f'{names[arm]} minus {arm}' for arm in arms)})" if len(arms) <= MANY else ""
    return [
        f"A loader that misses {missed} in every layer. Refused without a manifest by "
        f"{_checks(first['refused_by'])}; with it by {_checks(first['refused_by_manifest'])}.",
        f"Differences, mis-loaded minus certified{pairs}; figures: certified \u2192 mis-loaded.",
        f"{plural(seeds, 'seed')}; small dots: each seed's own paired difference; {bars}.",
    ]


def _checks(names: str) -> str:
    return listed(names.split(",")) if names else "no check"


def _tooltip() -> list[alt.Tooltip]:
    shares = [alt.Tooltip(f"{column}:Q", format=".1%") for column in ("value", "value_reinit", "ci_low", "ci_high")]
    return [alt.Tooltip("arm:N"), alt.Tooltip("arm_reinit:N"), *shares, alt.Tooltip("p_value:Q", format=".3f")]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
