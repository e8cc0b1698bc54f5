"""Chart of the search for recipes: recall against the learning rate, arm by arm; without rates, of every candidate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import after, extremes, interval, last, listed, seeds
from atlas.charts.frame import Block, Chart, Panel, horizontal, measured, told, vertical
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLUE, PALETTE, PAPER, WIDTH
from atlas.phrases import plural

ACROSS, SPACING = 2, 54  # panels beside each other; pixels of each for its axis and what parts it from the next
LEAST = 0.1  # of recall that a panel shows, from its lowest to its highest
FAINTEST = 0.35  # of the first rung
TO_THE_END = "datum.longest"
COLUMNS = (
    told("text", candidate="Candidate", length="Tried")
    | measured("Recall", "recall")
    | told("share", association="Association", recognition_net="Recognition, net", recall_rephrase="Recall, rephrased")
    | told("nats", rise="Rise, nats per character")
    | told("count", characters="Characters trained", core_seconds="Core-seconds")
)


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel an arm: response curves where rates were searched, and candidates in rows where none were."""
    rows = dressed(tables.recipes)
    of_a_grid = rows.groupby("arm")["closed"].transform(lambda closed: closed.notna().any())
    for searched, part in rows.groupby(of_a_grid, sort=True):
        panels = [(named(of_arm), of_arm) for _, of_arm in part.groupby("arm", sort=False)]
        widest = max(of_arm["lr"].max() / of_arm["lr"].min() for _, of_arm in panels)  # none without rates
        yield Chart(
            name="recipes",
            rows=part,
            marks=partial(curves, all_rows=rows, widest=widest) if searched else partial(dots, all_rows=rows),
            blocks=[Block(panels, across=ACROSS)],
            title=finding(rows),
            subtitle=rests_on(rows),
            columns=COLUMNS,
            width=WIDTH / ACROSS - SPACING,
            height=120 if searched else alt.Step(16),
            gap=SPACING if searched else 16,
            spacing=24,
            titles={"offset": 6, "frame": "group"},
            flush=bool(searched),
        )


def dressed(recipes: pd.DataFrame) -> pd.DataFrame:
    """How long each was tried, in words, and whether it was chosen though a better rate may lie beyond."""
    edge = recipes["chosen"] & recipes["closed"].eq(False)
    return recipes.drop(columns=["recipe", "tuned"]).assign(length=recipes["sessions"].map(after), edge=edge)


def named(of_arm: pd.DataFrame) -> str:
    """An arm, its best recall, and the rate or candidate that gave it."""
    (best,) = of_arm[of_arm["chosen"]].to_dict("records")
    which = f"at {best['lr']:g}" if pd.notna(best["closed"]) else f"by {best['candidate']}"
    return f"{best['arm']}: {best['recall']:.1%} {which}"


def curves(panel: Panel, all_rows: pd.DataFrame, widest: float) -> alt.LayerChart:
    """Response curves of an arm, fainter those of fewer sessions; a factor is as wide in every panel."""
    rates, ended = panel.rows["lr"], last(panel.rows)
    middle, half = math.sqrt(rates.min() * rates.max()), 1.15 * math.sqrt(widest)
    x = alt.X(
        "lr:Q",
        scale=alt.Scale(type="log", domain=[middle / half, middle * half], nice=False),
        axis=alt.Axis(
            values=sorted(set(rates)),
            labelExpr="format(1000 * datum.value, '~g')",
            labelOverlap="greedy",
            labelSeparation=4,
            grid=False,
            title="learning rate, thousandths" if panel.lowest else None,
        ),
    )
    low = min(panel.rows["recall"].min(), ended["ci_low"].min())
    high = max(panel.rows["recall"].max(), ended["ci_high"].max())
    room = 0.02 + max(0.0, LEAST - (high - low)) / 2
    y = vertical(
        alt.Axis(format="%", tickCount=4, title="recall" if panel.first else None),
        alt.Scale(domain=[max(0.0, low - room), min(1.0, high + room)], nice=False),
    )
    settings = [*dict.fromkeys(all_rows.loc[all_rows["closed"].notna(), "settings"])]
    hues = alt.Scale(domain=settings, range=[PALETTE[i % len(PALETTE)] for i in range(len(settings))])
    legend = panel.legend(columns=4, symbolType="stroke") if len(settings) > 1 else None
    base = faded(panel, all_rows).encode(x=x, color=alt.Color("settings:N", scale=hues, legend=legend))
    return alt.layer(
        base.transform_filter(TO_THE_END).mark_rule(strokeWidth=1.2).encode(y=y("ci_low"), y2="ci_high:Q"),
        base.mark_line(strokeWidth=1.8).encode(y=y("recall"), detail="length:N"),
        points(base, panel, alt.Fill("settings:N", scale=hues, legend=None)).encode(y=y("recall")),
    )


def dots(panel: Panel, all_rows: pd.DataFrame) -> alt.LayerChart:
    """The candidates of an arm in rows, the best on top, fainter what they recalled after fewer sessions."""
    order = [*dict.fromkeys(panel.rows.sort_values("sessions", ascending=False, kind="stable")["candidate"])]
    x = horizontal(
        alt.Axis(format="%", values=[0, 0.5, 1], title="recall" if panel.lowest else None),
        alt.Scale(domain=[-0.02, 1.02], nice=False),
    )
    y = alt.Y("candidate:N", sort=order, axis=alt.Axis(title=None, labelLimit=110))
    base = faded(panel, all_rows).encode(y=y, color=alt.value(BLUE))
    return alt.layer(
        base.transform_filter(TO_THE_END).mark_rule(strokeWidth=1.2).encode(x=x("ci_low"), x2="ci_high:Q"),
        points(base, panel, alt.value(BLUE)).encode(x=x("recall")),
    )


def faded(panel: Panel, all_rows: pd.DataFrame) -> alt.Chart:
    """Candidates, fainter the fewer sessions they were tried for."""
    lengths = sorted(set(all_rows["sessions"]))
    ends = [FAINTEST if len(lengths) > 1 else 1.0, 1.0]
    return panel.data.transform_calculate(longest=f"datum.sessions === {lengths[-1]}").encode(
        opacity=alt.Opacity("sessions:O", scale=alt.Scale(domain=lengths, range=ends), legend=None)
    )


def points(base: alt.Chart, panel: Panel, hue: alt.Fill | dict[str, str]) -> alt.Chart:
    """Large where chosen, and hollow where a better rate may lie beyond."""
    sizes = alt.condition("datum.chosen", alt.value(110), alt.value(26))
    inside = alt.condition("datum.edge", alt.value(PAPER), hue)
    return base.mark_point(strokeWidth=1.8).encode(size=sizes, fill=inside, tooltip=panel.tips)


def finding(rows: pd.DataFrame) -> list[str]:
    """What the best candidates recall, and of which arms the best learning rate may lie beyond."""
    best = rows[rows["chosen"]]
    said = [extremes(best.assign(value=best["recall"]), f"Best recall {after(best['sessions'].max())}")]
    if best["edge"].any():
        arms = best.loc[best["edge"], "arm"]
        said.append(f"At the edge of the rates that were tried, so that a better one may lie beyond: {listed(arms)}")
    elif best["closed"].notna().any():
        said.append("Every best learning rate lies between two that did no better")
    return said


def rests_on(rows: pd.DataFrame) -> list[str]:
    """How to read the marks, and on how much they rest."""
    first = rows[rows["sessions"] == rows["sessions"].min()]
    tried = plural(int(first.groupby("arm")["candidate"].nunique().max()), "candidate")
    facts = plural(int(rows["n_facts"].max()), "fact")
    shorter = listed(sorted({*rows["sessions"]} - {rows["sessions"].max()}) or [""])
    faint = f" Faint: after {shorter}, dark: {after(rows['sessions'].max())}." if shorter else ""
    hollow = "; hollow: on one side no rate was tried as long" if rows["edge"].any() else ""
    scales = " Every panel has its own scales." if rows["closed"].notna().any() else ""
    return [
        f"{tried} for each arm on the same {seeds(rows)}, which nothing else uses, up to {facts} each; "
        f"{interval(rows)}.",
        f"Large: chosen, by recall after the most sessions{hollow}.{faint}{scales}",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
