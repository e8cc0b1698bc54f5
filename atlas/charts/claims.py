"""Chart of the ledger: what the essay says of each claim beside what was measured, with the verdict."""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import BAND, BLACK, BLUE, INK, PAPER, PLACEBO, RED, RULE, WIDTH, title
from atlas.charts.words import listed, plural
from atlas.tables.verdicts import CONTRADICTED, NOT_TESTABLE, REPRODUCED, UNRESOLVED
from atlas.workflow.steps import run_step

METRICS = ("recall", "ranked", "recognition")
LOOKS = {
    "reproduced": (BLUE, "circle"),
    "contradicted": (RED, "M-.9,-.6L-.6,-.9L0,-.3L.6,-.9L.9,-.6L.3,0L.9,.6L.6,.9L0,.3L-.6,.9L-.9,.6L-.3,0Z"),
    "unresolved": (BLACK, "diamond"),
}
"""Verdict to colour and shape: a cross stays a cross in grey."""
HEADINGS = {
    ("retention", "share"): "Retention",
    ("rephrasing", "share"): "Asked in other words",
    ("domains", "share"): "By domain, 100 sessions",
    ("confound", "share"): "Feed-forward base weights at random",
    ("placement", "difference"): "Where the adapters sit: differences",
    ("rephrasing", "difference"): "Asked in other words: differences",
    ("domains", "difference"): "Retention over a tenfold of facts: slopes",
    ("confound", "difference"): "Feed-forward base weights at random, 30 sessions: differences",
    ("layers", "difference"): "Which layers: differences",
    ("recipe", "difference"): "The recipe, 30 sessions: differences",
    ("editing", "difference"): "Editors: differences",
}
"""Topic and kind of figure to the heading of a block; blocks stand in this order."""
ROW_HEIGHT, LABELS = 17, 236  # pixels
LEGEND = alt.Legend(orient="top")
AGAIN = "|"  # in the name of a row: the claim above it, with the preset that follows


def presets(claims: pd.DataFrame) -> list[str]:
    """The presets that claims on facts were judged under."""
    return list(dict.fromkeys(claims.loc[claims["metric"].isin(METRICS), "preset"]))


def with_preset(preset: str, claims: pd.DataFrame) -> str:
    """What a sentence adds about its preset where ``claims`` have several."""
    return f" with preset {preset}" if len(presets(claims)) > 1 else ""


def counts(rows: pd.DataFrame) -> str:
    """``3 of 10 claims reproduced, 5 contradicted, 2 unresolved``, of the rows of one metric."""
    tested = rows[rows["verdict"] != NOT_TESTABLE]
    if tested.empty:
        return f"none of {plural(len(rows), 'claim')} can be tested at the size of this study"
    number = tested["verdict"].value_counts().reindex([REPRODUCED, CONTRADICTED, UNRESOLVED], fill_value=0)
    reproduced = f"{number[REPRODUCED]} of {plural(len(tested), 'claim')} reproduced"
    return f"{reproduced}, {number[CONTRADICTED]} contradicted, {number[UNRESOLVED]} unresolved"


def draw(tables: Tables) -> alt.VConcatChart:
    """One block of rows a topic, one column a metric."""
    rows = keyed(tables.claims.query("metric in @METRICS and (essay_value.notna() or measured.notna())"), "label")
    unit = rows["unit"].where(rows["unit"] == "share", "difference")
    parts = [
        (heading, rows[(rows["topic"] == topic) & (unit == kind)], kind) for (topic, kind), heading in HEADINGS.items()
    ]
    charts = [
        block(part, heading, kind, first=number == 0)
        for number, (heading, part, kind) in enumerate(part for part in parts if len(part[1]))
    ]
    return alt.vconcat(*charts, spacing=14).properties(title=title(finding(rows), subtitle(rows)))


def keyed(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Add the key of each row of a chart: its claim by the column ``name``, and the preset where it is not the first.

    The rows of a claim are brought together.
    """
    first = presets(rows)[0]
    keys = [
        one if preset == first else f"{one}{AGAIN}{preset}"
        for one, preset in zip(rows[name], rows["preset"], strict=True)
    ]
    place = {one: at for at, one in enumerate(dict.fromkeys(rows[name]))}
    return rows.assign(key=keys, place=rows[name].map(place)).sort_values("place", kind="stable").drop(columns="place")


def key_label(first: str = "datum.value") -> str:
    """The expression that writes the key of a row; ``first`` is the one for a row of the first preset."""
    again = f"split(datum.value, '{AGAIN}')"
    return f"length({again}) > 1 ? 'with preset ' + {again}[1] : {first}"


def block(rows: pd.DataFrame, heading: str, kind: str, first: bool) -> alt.FacetChart:
    """Rows of one topic: the essay as a grey band with a tick, what was measured on top of it."""
    labels = list(dict.fromkeys(rows["key"]))
    axis = alt.Axis(
        format="%" if kind == "share" else "+%",
        title=None,
        tickCount=3,
        labelFlush=True,
        labelSeparation=8,
        labelOverlap=True,
    )
    scale = alt.Scale(domain=limits(rows, kind), nice=False)
    names = alt.Axis(minExtent=LABELS, maxExtent=LABELS, labelFontSize=11, labelLimit=LABELS, labelExpr=key_label())
    base = alt.Chart(rows).encode(y=alt.Y("key:N", sort=labels, title=None, axis=names))

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", axis=axis, scale=scale)

    layers = [*essays(base, x), *ours(base, x, LEGEND)]
    if kind != "share":
        layers.insert(0, alt.Chart(rows).mark_rule(color=RULE, strokeDash=[2, 2]).encode(x=alt.datum(0)))
    panel = alt.layer(*layers).properties(width=(WIDTH + 56 - LABELS) / 3, height=ROW_HEIGHT * len(labels))
    column = alt.Column("metric:N", sort=list(METRICS), header=alt.Header(labels=first, labelPadding=4))
    text = alt.TitleParams(heading, fontSize=13, fontWeight=600, offset=4)
    return panel.facet(column=column, title=text, spacing=30)


def essays(base: alt.Chart, x: Callable[[str], alt.X]) -> tuple[alt.Chart, alt.Chart]:
    """The essay's interval as a band, its figure as a tick; nothing where it prints none."""
    known = base.transform_filter("isValid(datum.essay_value)")
    bands = known.mark_bar(height=9, color=BAND).encode(x=x("essay_ci_low"), x2="essay_ci_high:Q")
    return bands, known.mark_tick(color=INK, thickness=2, height=13).encode(x=x("essay_value"))


def ours(base: alt.Chart, x: Callable[[str], alt.X], legend: alt.Legend) -> tuple[alt.Chart, alt.Chart, alt.Chart]:
    """What was measured, with its interval and its verdict, and squares for facts never taught."""
    tested = base.transform_filter("isValid(datum.measured)")
    bars = tested.mark_rule(strokeWidth=2).encode(x=x("ci_low"), x2="ci_high:Q", color=_colour(legend))
    never = base.transform_filter("isValid(datum.placebo)")
    squares = never.mark_point(shape="square", size=26, color=PLACEBO, fill=PAPER, strokeWidth=1.2, opacity=1)
    shapes = alt.Scale(domain=list(LOOKS), range=[shape for _, shape in LOOKS.values()])
    dots = tested.mark_point(size=52, filled=True, opacity=1, strokeWidth=0).encode(
        x=x("measured"),
        color=_colour(legend),
        shape=alt.Shape("verdict:N", scale=shapes, title=None, legend=legend),
        tooltip=["statement:N", "preset:N", "metric:N", "verdict:N", "note:N"]
        + [alt.Tooltip(f"{name}:Q", format=".1%") for name in ("essay_value", "measured", "ci_low", "ci_high")],
    )
    return bars, squares.encode(x=x("placebo")), dots


def _colour(legend: alt.Legend) -> alt.Color:
    scale = alt.Scale(domain=list(LOOKS), range=[colour for colour, _ in LOOKS.values()])
    return alt.Color("verdict:N", scale=scale, title=None, legend=legend)


def limits(rows: pd.DataFrame, kind: str) -> list[float]:
    """Ends of the scale: all of 0 to 1 for shares; for differences as far as any interval reaches, with some room."""
    if kind == "share":
        return [-0.03, 1.03]
    ends = rows[["essay_ci_low", "essay_ci_high", "ci_low", "ci_high", "measured"]]
    low, high = (float(end) for end in np.nanquantile([*ends.to_numpy().ravel(), 0.0], [0, 1]))
    room = 0.06 * max(high - low, 0.02)
    return [low - room, high + room]


def finding(rows: pd.DataFrame) -> list[str]:
    """For each metric how many claims it reproduces and contradicts; for several presets, a line for each."""
    if len(presets(rows)) > 1:
        return [_reproduced(rows[rows["preset"] == preset], preset) for preset in presets(rows)]
    return [f"{metric.capitalize()}: {counts(rows[rows['metric'] == metric])}" for metric in METRICS]


def _reproduced(rows: pd.DataFrame, preset: str) -> str:
    tested = rows[rows["verdict"] != NOT_TESTABLE]
    number = tested[tested["verdict"] == REPRODUCED]["metric"].value_counts().reindex(METRICS, fill_value=0)
    said = listed(f"{metric} {number[metric]}" for metric in METRICS)
    return f"Preset {preset}, {plural(tested['claim_id'].nunique(), 'claim')}, reproduced: {said}"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """How to read the marks, and on how many seeds they rest."""
    first, *others = presets(rows)
    below = [f"Facts taught with preset {first}; below a claim, with preset {listed(others)}."] if others else []
    seeds = int(rows["n_seeds"].max())
    ours = f"Coloured: this study, {plural(seeds, 'seed')}, 95% intervals" if seeds else "Nothing measured"
    return [
        "Grey bands with a tick: the essay's figure with the 95% interval of its own facts, one seed.",
        f"{ours}. Squares: facts never taught (placebo). The verdicts follow rules written down before.",
        *below,
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
