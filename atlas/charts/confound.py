"""Chart of the confound: what a mis-loaded base does to every metric, and that verification refuses it."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import INK, SOFT, WIDTH, colours, title
from atlas.charts.words import listed, percent, plural
from atlas.steps import run_step

READINGS = {
    ("taught", "recall"): "recall",
    ("taught", "ranked"): "ranked",
    ("taught", "recognition"): "recognition",
    ("placebo", "recognition"): "recognition, never taught",
    ("taught", "recognition_net"): "recognition, net of placebo",
}
"""Probe and metric to what the chart calls them, from top to bottom."""

ROW_HEIGHT = 34  # of an arm within a reading
FIGURES = 70  # pixels right of a panel, for the figures


def draw(tables: Tables) -> alt.FacetChart:
    """One panel a checkpoint; in it one row an arm under each reading."""
    rows, palette = dressed(tables.confound), colours(tables.names)
    columns = list(dict.fromkeys(rows.sort_values("sessions")["panel"]))
    arms = [arm for arm in tables.names if arm in set(rows["arm"])]
    bound = max(0.05, rows[["diff", "ci_low", "ci_high"]].abs().max().max())
    x = alt.X(
        "diff:Q",
        axis=alt.Axis(format="+.0%", title="percentage points", tickCount=5),
        scale=alt.Scale(domain=[-bound, bound], nice=False),
    )
    readings = [name for name in READINGS.values() if name in set(rows["reading"])]
    base = alt.Chart(rows).encode(
        y=alt.Y("reading:N", sort=readings, title=None),
        yOffset=alt.YOffset("arm:N", sort=arms),
        color=alt.Color(
            "arm:N",
            scale=alt.Scale(domain=arms, range=[palette[arm] for arm in arms]),
            legend=alt.Legend(orient="top", title=None),
        ),
    )
    over_all, by_seed = (base.transform_filter(f"{test}isValid(datum.seed)") for test in ("!", ""))
    zero = alt.Chart(rows).mark_rule(color=SOFT, strokeDash=[3, 3]).encode(x=alt.datum(0))
    bars = over_all.mark_rule(strokeWidth=2).encode(x=alt.X("ci_low:Q"), x2="ci_high:Q")
    seeds = by_seed.mark_point(size=26, strokeWidth=1, opacity=0.75).encode(x=x)
    means = over_all.mark_point(filled=True, size=70, opacity=1).encode(x=x, tooltip=_tooltip())
    figures = over_all.mark_text(align="left", dx=6, fontSize=11).encode(
        x=alt.value(WIDTH / len(columns) - FIGURES), text="figures:N", color=alt.value(INK)
    )
    panel = alt.layer(zero, bars, seeds, means, figures).properties(
        width=WIDTH / len(columns) - FIGURES, height=ROW_HEIGHT * len(arms) * len(readings)
    )
    facets = panel.facet(column=alt.Column("panel:N", sort=columns), spacing=FIGURES)
    return facets.properties(title=title(finding(rows), subtitle(rows, arms)))


def dressed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that the chart shows, with what it calls them, their panel and figures."""
    rows = rows.assign(reading=[READINGS.get(key, "") for key in zip(rows["probe"], rows["metric"], strict=True)])
    rows = rows[rows["reading"] != ""]
    before, after = (rows[column].fillna(0).map(percent) for column in ("value", "value_reinit"))
    return rows.assign(
        panel=[f"after {sessions} sessions" for sessions in rows["sessions"]],
        figures=before + " \u2192 " + after,
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """What the mis-loaded base does to recall and to facts never taught, and whether it is refused."""
    last = rows[rows["seed"].isna() & (rows["sessions"] == rows["sessions"].max())].set_index(["reading", "arm"])
    moves = []
    for reading in ("recall", "recognition, never taught"):
        by_arm = [f"{last.loc[(reading, arm), 'figures']} ({arm})" for arm in last.loc[reading].index]
        moves.append(f"{reading} {listed(by_arm)}")
    return [f"On a mis-loaded base: {'; '.join(moves)}", verdict(rows)]


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
    return [
        f"A loader that misses {missed} in every layer. Refused without a manifest by "
        f"{_checks(first['refused_by'])}; with it by {_checks(first['refused_by_manifest'])}.",
        f"Differences, mis-loaded minus certified ({listed(f'{names[arm]} minus {arm}' for arm in arms)}); "
        "figures: certified \u2192 mis-loaded.",
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
