"""Chart of the planned comparisons: differences with intervals, verdicts, and what could have been seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from atlas.charts.live import COUNT, HALF, NARROW, POINTS, ROWS, SHARE, TEXT, Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import BLACK, BLUE, INK, RED, SHADE, SOFT, WIDTH, title
from atlas.charts.words import SHORT, after, basis, listed, plural, sentences
from atlas.tables.inference import LEVEL
from atlas.workflow.steps import run_step

METRICS = {"recall": "recall", "ranked": "ranked", "recognition_net": "recognition, net of placebo"}
METRICS_OF_THE_PAGE = ("recall", "ranked", "recognition", "recognition_net")
LOOKS = {
    "a > b": ("first is higher", BLUE, "triangle-right"),
    "b > a": ("second is higher", RED, "triangle-left"),
    "unresolved": ("unresolved", BLACK, "circle"),
}
"""Verdict to its name, colour and shape."""
ROW_HEIGHT, LABELS, GAP = 19, 216, 22  # pixels
TABLE = {
    "Comparison": ("pair", TEXT),
    "Family": ("family", TEXT),
    "First": ("value_a", SHARE),
    "Second": ("value_b", SHARE),
    "Difference": ("diff", POINTS),
    "95% interval": ("ci_low ci_high", POINTS),
    "Verdict": ("said", TEXT),
    "Seeds": ("n_seeds", COUNT),
    "Facts a seed": ("n_facts", COUNT),
}
LEGEND = alt.Legend(orient="top", symbolSize=80)


def draw(tables: Tables) -> alt.VConcatChart:
    """One block of rows a family, one column a metric, one row a pair and checkpoint."""
    rows = dressed(tables.contrasts)
    families = [part for _, part in rows.groupby("family", sort=False)]
    blocks = [block(part, first=number == 0) for number, part in enumerate(families)]
    return alt.vconcat(*blocks, spacing=16).properties(title=title(finding(rows), subtitle(rows)))


def dressed(contrasts: pd.DataFrame, metrics: Sequence[str] = tuple(METRICS)) -> pd.DataFrame:
    """The rows that are drawn, with their labels and the name of their verdict."""
    rows = contrasts[contrasts["metric"].isin(metrics)].query("domain == 'all' and probe == 'taught'")
    sessions = rows["sessions"].astype(str)
    return rows.assign(
        pair=rows["arm_a"] + " \N{MINUS SIGN} " + rows["arm_b"],
        label=rows["arm_a"] + " \N{MINUS SIGN} " + rows["arm_b"] + " · " + sessions,
        said=rows["verdict"].map({verdict: name for verdict, (name, _, _) in LOOKS.items()}),
    )


def block(rows: pd.DataFrame, first: bool) -> alt.HConcatChart:
    """The comparisons of one family: a panel a metric, each with its own scale."""
    family, pairs = rows["family"].iloc[0], rows.groupby(["arm_a", "arm_b"]).ngroups
    panels = [panel(rows[rows["metric"] == metric], metric, metric == "recall", first) for metric in METRICS]
    text = f"{family.replace('_', ' ').capitalize()}: {plural(pairs, 'comparison')}"
    heading = alt.TitleParams(text, fontSize=13, fontWeight=600, offset=4)
    return alt.hconcat(*panels, spacing=GAP, bounds="flush", title=heading)


def panel(rows: pd.DataFrame, metric: str, labels: bool, first: bool) -> alt.LayerChart:
    """Differences under one metric; grey is what so few seeds would have missed too often."""
    bound = max(0.02, 1.05 * rows[["ci_low", "ci_high"]].abs().max().max())
    missed = rows["mde"].fillna(bound).clip(upper=bound)
    shown = rows.assign(missed_low=-missed, missed_high=missed)
    order = list(dict.fromkeys(rows.sort_values(["sessions"], kind="stable")["label"]))
    names = alt.Axis(minExtent=LABELS, maxExtent=LABELS, labelLimit=LABELS, labelFontSize=11) if labels else None
    base = alt.Chart(shown).encode(y=alt.Y("label:N", sort=order, title=None, axis=names))
    axis = alt.Axis(
        format="+.0%" if bound > 0.06 else "+.1%", title=None, tickCount=3, labelOverlap=True, labelFlush=20
    )
    chart = layers(base, axis, alt.Scale(domain=[-bound, bound], nice=False), LEGEND)
    head = alt.TitleParams(
        METRICS[metric] if first else "", fontSize=12, color=INK, anchor="middle", frame="group", offset=4
    )
    width = (WIDTH + 56 - LABELS - 2 * GAP) / 3
    return chart.properties(width=width, height=ROW_HEIGHT * len(order), title=head)


def layers(base: alt.Chart, axis: alt.Axis, scale: alt.Scale, legend: alt.Legend) -> alt.LayerChart:
    """Grey where differences would have been missed, the zero, intervals, and dots that point to the higher arm."""

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", axis=axis, scale=scale)

    colour, shape = _looks(legend)
    bands = base.mark_bar(height=ROW_HEIGHT - 3, color=SHADE).encode(x=x("missed_low"), x2="missed_high")
    zero = alt.Chart(base.data).mark_rule(color=SOFT, strokeDash=[2, 2]).encode(x=alt.datum(0))
    bars = base.mark_rule(strokeWidth=2).encode(x=x("ci_low"), x2=alt.X2("ci_high:Q"), color=colour)
    dots = base.mark_point(size=56, filled=True, opacity=1)
    return alt.layer(bands, zero, bars, dots.encode(x=x("diff"), color=colour, shape=shape, tooltip=_tooltip()))


def live(tables: Tables) -> Figure:
    """One metric and checkpoint at a time, family after family; a pair is shown where one of its arms is chosen."""
    rows = dressed(tables.contrasts, METRICS_OF_THE_PAGE)
    bound = (
        rows.groupby(["metric", "sessions"])[["ci_low", "ci_high"]].transform(lambda part: part.abs().max()).max(axis=1)
    )
    missed = rows["mde"].fillna(bound).clip(upper=bound)
    rows = rows.assign(missed_low=-missed, missed_high=missed, key=rows["family"] + ": " + rows["pair"])
    axis = alt.Axis(format="+.0%", title="percentage points", tickCount=5, labelOverlap=True)
    names = alt.Axis(labelExpr="split(datum.value, ': ')[1]", labelLimit=HALF, labelFontSize=11)
    order = list(dict.fromkeys(rows["key"]))
    base = alt.Chart(alt.NamedData(name=ROWS)).encode(y=alt.Y("key:N", sort=order, title=None, axis=names))
    chart = layers(base, axis, alt.Scale(zero=True), alt.Legend(orient="top", columns=NARROW, symbolSize=80))
    return Figure(
        name="contrasts",
        table="contrasts",
        rows=rows.drop(columns=["domain", "probe", "contract", "label", "n_tests"]),
        chart=chart.properties(width="container", height=alt.Step(ROW_HEIGHT)),
        columns=TABLE,
        said={cell: (sentences(decisions(part, cell[0])), " ".join(subtitle(part))) for cell, part in cells(rows)},
        arms=("arm_a", "arm_b"),
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """What the comparisons of recall after the last checkpoint decide, and how many of them stay open."""
    last = rows[(rows["metric"] == "recall") & (rows["sessions"] == rows["sessions"].max())]
    return decisions(last, "recall")


def decisions(rows: pd.DataFrame, metric: str) -> list[str]:
    """What the comparisons of one metric and checkpoint decide, and how many of them stay open."""
    decided = rows[rows["verdict"] != "unresolved"]
    said = [_higher(row) for row in decided.drop_duplicates("pair").to_dict("records")]
    where = f"{SHORT[metric]} {after(rows['sessions'].iloc[0])}"
    counted = f"{where}: {len(decided)} of {plural(len(rows), 'comparison')} decided"
    if not said and (rows["p_attainable"] >= LEVEL).all():
        said = [f"{plural(int(rows['n_seeds'].max()), 'seed')} cannot decide any, however large the difference"]
    return [counted, *([listed(said)] if said else [])]


def subtitle(rows: pd.DataFrame) -> list[str]:
    """Seeds and facts, what the bars, the grey and the verdicts are."""
    return [
        f"Taught facts, first arm minus second, and after how many sessions. {basis(rows)}.",
        "A verdict needs p < 0.05 in the sign-flip test over seeds, after Holm's correction within the family and "
        "metric, and an interval without 0.",
        "Grey: differences that so many seeds would have missed in more than one of five studies.",
    ]


def _higher(row: Mapping[Any, Any]) -> str:
    first, second = (row["arm_a"], row["arm_b"]) if row["verdict"] == "a > b" else (row["arm_b"], row["arm_a"])
    return f"{first} over {second}"


def _looks(legend: alt.Legend) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of a verdict, in one legend."""
    names, colours, shapes = (list(column) for column in zip(*LOOKS.values(), strict=True))
    return (
        alt.Color("said:N", scale=alt.Scale(domain=names, range=colours), title=None, legend=legend),
        alt.Shape("said:N", scale=alt.Scale(domain=names, range=shapes), title=None, legend=legend),
    )


def _tooltip() -> list[alt.Tooltip]:
    shares = ("value_a", "value_b", "diff", "ci_low", "ci_high", "mde")
    figures = ("p_value", "p_adjusted", "p_attainable", "effect")
    return [
        *(alt.Tooltip(f"{name}:N") for name in ("family", "pair", "said", "reason")),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in shares),
        *(alt.Tooltip(f"{name}:Q", format=".3~g") for name in figures),
        alt.Tooltip("n_seeds:Q"),
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
