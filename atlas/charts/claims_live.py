"""The ledger's chart for the page: one metric at a time, the claims that are about the arms and sessions chosen."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts.claims import (
    HEADINGS,
    METRICS,
    ROW_HEIGHT,
    counts,
    essays,
    key_label,
    keyed,
    ours,
    presets,
    subtitle,
    with_preset,
)
from atlas.charts.live import HALF, NARROW, POINTS, ROWS, SHARE, TEXT, Figure
from atlas.charts.tables import Tables
from atlas.charts.theme import RULE
from atlas.tables import ledger


def live(tables: Tables) -> list[Figure]:
    """Shares and differences, one metric at a time; a claim is shown where it is about what is chosen."""
    rows = keyed(tables.claims.query("metric in @METRICS and (essay_value.notna() or measured.notna())"), "claim_id")
    rows = rows.assign(
        arms=rows["arms"].str.split(","),
        about=rows["claim_id"].map({claim.id: checkpoints_of(claim) for claim in ledger.read().all_claims}),
        unit=rows["unit"].where(rows["unit"] == "share", "difference"),
    ).drop(columns=["p_value", "kind"])
    counted = {metric: _counted(tables.claims[tables.claims["metric"] == metric]) for metric in METRICS}
    checkpoints = sorted({sessions for about in rows["about"] for sessions in about})
    return [
        Figure(
            name=f"claims_{unit}s",
            table="claims",
            rows=rows,
            chart=of_one_metric(rows[rows["unit"] == unit], unit),
            columns={
                "Claim": ("statement", TEXT),
                "Preset": ("preset", TEXT),
                "Essay": ("essay_value", kind),
                "Measured": ("measured", kind),
                "95% interval": ("ci_low ci_high", kind),
                "Verdict": ("verdict", TEXT),
            },
            said={
                (metric, int(sessions)): (f"{name}. All claims under {metric}: {said}.", " ".join(subtitle(rows)))
                for metric, said in counted.items()
                for sessions in checkpoints
            },
            where={"unit": [unit]},
            arms=("arms",),
            sessions="about",
        )
        for unit, kind, name in (("share", SHARE, "Figures of the essay"), ("difference", POINTS, "Comparisons"))
        if len(rows[rows["unit"] == unit])
    ]


def _counted(rows: pd.DataFrame) -> str:
    return "; ".join(f"{counts(rows[rows['preset'] == preset])}{with_preset(preset, rows)}" for preset in presets(rows))


def of_one_metric(rows: pd.DataFrame, unit: str) -> alt.LayerChart:
    """The claims of one kind from top to bottom, topic after topic, for the page."""
    topics = [topic for topic, kind in HEADINGS if kind == unit]
    first = rows.drop_duplicates("claim_id").sort_values(
        "topic", key=lambda topic: topic.map(topics.index), kind="stable"
    )
    labels = {
        name: f"{topic}: {label}"
        for name, topic, label in zip(first["claim_id"], first["topic"], first["label"], strict=True)
    }
    names = alt.Axis(labelExpr=key_label("labels[datum.value]"), labelLimit=HALF, labelFontSize=11)
    order = [key for name in labels for key in dict.fromkeys(rows.loc[rows["claim_id"] == name, "key"])]
    y = alt.Y("key:N", sort=order, title=None, axis=names)
    base = alt.Chart(alt.NamedData(name=ROWS)).encode(y=y)
    axis = alt.Axis(format="%" if unit == "share" else "+%", title=None, tickCount=5, labelOverlap=True)

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", axis=axis, scale=alt.Scale(zero=True))

    zero = alt.Chart(base.data).mark_rule(color=RULE, strokeDash=[2, 2]).encode(x=alt.datum(0))
    layers = [zero, *essays(base, x), *ours(base, x, alt.Legend(orient="top", columns=NARROW))]
    chart = alt.layer(*layers).add_params(alt.param(name="labels", value=labels))
    return chart.properties(width="container", height=alt.Step(ROW_HEIGHT))


def checkpoints_of(claim: ledger.Claim) -> list[int]:
    """The sessions that a claim of the ledger is about."""
    if isinstance(claim, ledger.Combined):
        return sorted({cell.sessions for _, cell in claim.signed})
    return [claim.sessions] if isinstance(claim, ledger.Spread) else []
