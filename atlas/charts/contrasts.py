"""Chart of the planned comparisons: differences with intervals, verdicts, and what could have been seen."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import HEADLINE, after, basis, has_net, last, left_out, listed, seeds
from atlas.charts.frame import BASIS, HALF, Block, Chart, Panel, cells, horizontal, measured, said, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLACK, BLUE, INK, RED, SHADE, SOFT, WIDTH
from atlas.metrics import CHOICES, REGISTRY
from atlas.phrases import plural
from atlas.tables.level import LEVEL

LOOKS = {
    "a > b": ("first is higher", BLUE, "triangle-right"),
    "b > a": ("second is higher", RED, "triangle-left"),
    "unresolved": ("unresolved", BLACK, "circle"),
}
"""Verdict to its name, colour and shape."""
ROW_HEIGHT, LABELS, GAP = 19, 216, 22  # pixels


def charts(tables: Tables) -> Iterator[Chart]:
    """One block of rows a family and what its pairs differ in, one column a metric, one row a pair and checkpoint.

    The picture has a metric's net where there is one. On the page a pair is shown where one of its arms is chosen.
    """
    rows = dressed(tables.contrasts)
    metrics = [metric for metric in CHOICES if not has_net(metric) and metric in set(rows["metric"])]
    pictured = rows[rows["metric"].isin(metrics)]
    live = [with_missed(part) for _, part in rows.groupby(["metric", "sessions"], sort=False)]
    yield Chart(
        name="contrasts",
        rows=pd.concat(live).sort_index().drop(columns=["domain", "probe", "contract", "n_tests"]),
        marks=differences,
        blocks=[block(part, metrics) for _, part in pictured.groupby(["family", "differs"], sort=False)],
        title=finding(last(rows[rows["metric"] == HEADLINE])),
        subtitle=rests_on(pictured),
        said=said(cells(rows), finding, rests_on),
        columns=told("text", pair="Comparison", differs="Arms differ in", family="Family")
        | told("share", value_a="First", value_b="Second")
        | measured("Difference", "diff", "points")
        | told("text", said="Verdict", reason="Reason")
        | BASIS,
        width=(WIDTH + 56 - LABELS - (len(metrics) - 1) * GAP) / len(metrics),
        height=alt.Step(ROW_HEIGHT),
        gap=GAP,
        titles={"color": INK, "anchor": "middle", "frame": "group"},
        titles_once=True,
        flush=True,
        arms=("arm_a", "arm_b"),
    )


def dressed(contrasts: pd.DataFrame) -> pd.DataFrame:
    """The rows that are drawn, with their pair, the key of their place in the chart, and the name of their verdict."""
    rows = contrasts[contrasts["metric"].isin(CHOICES)].query("domain == 'all' and probe == 'taught'")
    pair = rows["arm_a"] + " \N{MINUS SIGN} " + rows["arm_b"]
    return rows.assign(
        pair=pair,
        key=rows["family"] + ": " + pair + " · " + rows["sessions"].astype(str) + " · " + rows["differs"],
        said=rows["verdict"].map({verdict: name for verdict, (name, _, _) in LOOKS.items()}),
    )


def block(rows: pd.DataFrame, metrics: list[str]) -> Block:
    """The comparisons of one family whose arms differ in the same: a panel a metric, each with its own scale."""
    family, pairs = rows["family"].iloc[0], rows.groupby(["arm_a", "arm_b"]).ngroups
    compared = plural(pairs, "comparison of arms that differ in", "comparisons of arms that differ in")
    heading = f"{family.replace('_', ' ').capitalize()}: {compared} {rows['differs'].iloc[0]}"
    panels = [(REGISTRY[metric].label.lower(), with_missed(rows[rows["metric"] == metric])) for metric in metrics]
    return Block(panels, heading, across=len(panels))


def reach(rows: pd.DataFrame) -> float:
    """How far the scale of some rows goes to either side."""
    return max(0.02, 1.05 * float(rows[["ci_low", "ci_high"]].abs().max().max()))


def with_missed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the ends of the differences that so few seeds would have missed too often, at most those of the scale."""
    bound = reach(rows)
    missed = rows["mde"].fillna(bound).clip(upper=bound)
    return rows.assign(missed_low=-missed, missed_high=missed)


def differences(panel: Panel) -> alt.LayerChart:
    """Grey where differences would have been missed, the zero, intervals, and dots that point to the higher arm."""
    bound = reach(panel.rows)
    axis = alt.Axis(
        format="+.0%" if bound > 0.06 or panel.live else "+.1%",
        title="percentage points" if panel.live else None,
        tickCount=5 if panel.live else 3,
        labelOverlap=True,
        **({} if panel.live else {"labelFlush": 20}),
    )
    x = horizontal(axis, panel.scale(-bound, bound))
    part = "split(split(datum.value, ': ')[1], ' · ')"
    label = f"{part}[0] + ': ' + {part}[2]" if panel.live else f"{part}[0] + ' · ' + {part}[1]"
    names = panel.names(
        LABELS,
        HALF,
        labelFontSize=11,
        labelExpr=label,
        **({} if panel.live else {"maxExtent": LABELS, "labelLimit": LABELS}),
    )
    order = list(dict.fromkeys(panel.rows.sort_values("sessions", kind="stable")["key"]))
    base = panel.data.encode(y=alt.Y("key:N", sort=order, title=None, axis=names))
    verdicts, hues, shapes = (list(column) for column in zip(*LOOKS.values(), strict=True))
    legend = panel.legend(symbolSize=80)
    colour = alt.Color("said:N", scale=alt.Scale(domain=verdicts, range=hues), legend=legend)
    shape = alt.Shape("said:N", scale=alt.Scale(domain=verdicts, range=shapes), legend=legend)
    bands = base.mark_bar(height=ROW_HEIGHT - 3, color=SHADE)
    zero = alt.Chart(panel.data.data).mark_rule(color=SOFT, strokeDash=[2, 2]).encode(x=alt.datum(0))
    bars = base.mark_rule(strokeWidth=2)
    dots = base.mark_point(size=56, filled=True, opacity=1)
    return alt.layer(
        bands.encode(x=x("missed_low"), x2="missed_high:Q"),
        zero,
        bars.encode(x=x("ci_low"), x2="ci_high:Q", color=colour),
        dots.encode(x=x("diff"), color=colour, shape=shape, tooltip=panel.tips),
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """What the comparisons of one metric and checkpoint decide, and how many of them stay open."""
    decided = rows[rows["verdict"] != "unresolved"]
    higher = []
    for row in decided.drop_duplicates("pair").to_dict("records"):
        first, second = (row["arm_a"], row["arm_b"]) if row["verdict"] == "a > b" else (row["arm_b"], row["arm_a"])
        higher.append(f"{first} over {second}")
    where = f"{REGISTRY[rows['metric'].iloc[0]].label} {after(rows['sessions'].iloc[0])}"
    counted = f"{where}: {len(decided)} of {plural(len(rows), 'comparison')} decided"
    if not higher and (rows["p_attainable"] >= LEVEL).all():
        return [counted, f"{seeds(rows)} cannot decide any, however large the difference"]
    return [counted, *([listed(higher)] if higher else [])]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """Seeds and facts, what the bars, the grey and the verdicts are."""
    return [
        f"Taught facts, first arm minus second, and after how many sessions. {basis(rows)}.",
        "A verdict needs p < 0.05 in the sign-flip test over seeds, corrected for the family in its column, and an "
        "interval without 0.",
        "Grey: differences that so many seeds would have missed in more than one of five studies. Where arms differ in "
        "several things, a difference cannot be put down to one of them.",
        *left_out(rows),
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
