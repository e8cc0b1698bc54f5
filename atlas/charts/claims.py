"""Chart of the ledger: what the essay says of each claim beside what was measured, with the verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import altair as alt
import numpy as np
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import counts, listed, presets, seeds, with_preset
from atlas.charts.frame import HALF, Block, Chart, Kind, Panel, horizontal, measured, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BAND, BLACK, BLUE, INK, PAPER, PLACEBO, RED, RULE, SOFT, WIDTH
from atlas.metrics import OF_FACTS
from atlas.phrases import plural
from atlas.tables import ledger
from atlas.tables.verdicts import NOT_TESTABLE, REPRODUCED

LOOKS = {
    "reproduced": (BLUE, "circle"),
    "contradicted": (RED, "M-.9,-.6L-.6,-.9L0,-.3L.6,-.9L.9,-.6L.3,0L.9,.6L.6,.9L0,.3L-.6,.9L-.9,.6L-.3,0Z"),
    "unresolved": (BLACK, "diamond"),
    "not testable": (SOFT, "triangle-up"),
}
"""Verdict to colour and shape: a cross stays a cross in grey."""
HEADINGS = {
    "share": {
        "retention": "Retention",
        "rephrasing": "Asked by a paraphrase",
        "domains": "By domain, 100 sessions",
        "confound": "Feed-forward base weights at random",
    },
    "difference": {
        "placement": "Where the adapters sit: differences",
        "rephrasing": "Asked by a paraphrase: differences",
        "domains": "Retention over a tenfold of facts: slopes",
        "confound": "Feed-forward base weights at random, 30 sessions: differences",
        "layers": "Which layers: differences",
        "location": "Where facts sit: what knock-outs lose",
        "recipe": "The recipe, 30 sessions: differences",
        "editing": "Editors: differences",
    },
}
"""Kind of figure and topic to the heading of a block; blocks stand in this order."""
FIGURES: Mapping[str, tuple[Kind, str]] = {
    "share": ("share", "Figures of the essay"),
    "difference": ("points", "Comparisons"),
}
LABELS = 236  # pixels
AGAIN = "|"  # in the key of a row: the claim above it, with the preset that follows


def charts(tables: Tables) -> Iterator[Chart]:
    """Shares, then differences: one block of rows a topic, one column a metric.

    On the page a claim is shown where it is about what is chosen.
    """
    claims = tables.claims
    known = claims["essay_value"].notna() | claims["measured"].notna()
    rows = keyed(claims[claims["metric"].isin(OF_FACTS) & known])
    rows = rows.assign(
        unit=rows["unit"].where(rows["unit"] == "share", "difference"),
        arms=rows["arms"].str.split(","),
        about=rows["claim_id"].map({claim.id: checkpoints_of(claim) for claim in ledger.read().all_claims}),
    )
    counted = {metric: counted_by_preset(claims[claims["metric"] == metric]) for metric in OF_FACTS}
    yield from (of_unit(rows, unit, counted) for unit in FIGURES if unit in set(rows["unit"]))


def of_unit(rows: pd.DataFrame, unit: str, counted: Mapping[str, str]) -> Chart:
    """The claims whose figures are shares, or differences."""
    kind, name = FIGURES[unit]
    mine = rows[rows["unit"] == unit].drop(columns=["arms", "about"])
    by_topic = [(heading, mine[mine["topic"] == topic]) for topic, heading in HEADINGS[unit].items()]
    return Chart(
        name=f"claims_{unit}s",
        rows_of="claims",
        rows=rows.drop(columns=["p_value", "kind"]),
        where={"unit": [unit]},
        marks=lambda panel: verdicts(panel, unit),
        blocks=[
            Block([(metric, part[part["metric"] == metric]) for metric in OF_FACTS], heading)
            for heading, part in by_topic
            if len(part)
        ],
        title=finding(rows),
        subtitle=rests_on(rows),
        said={
            (metric, sessions): (f"{name}. All claims under {metric}: {counts}.", " ".join(rests_on(rows)))
            for metric, counts in counted.items()
            for sessions in sorted({sessions for about in rows["about"] for sessions in about})
        },
        columns=told("text", statement="Claim", preset="Preset")
        | told(kind, essay_value="Essay")
        | measured("Measured", "measured", kind)
        | told("text", rule="Reproduced if", verdict="Verdict")
        | told("text", verdict_half="At half the margin", verdict_twice="At twice", note="Note"),
        width=(WIDTH + 56 - LABELS) / len(OF_FACTS),
        height=alt.Step(17),
        gap=30,
        spacing=14,
        titles_once=True,
        arms=("arms",),
        sessions="about",
    )


def checkpoints_of(claim: ledger.Claim) -> list[int]:
    """The sessions that a claim of the ledger is about."""
    if isinstance(claim, ledger.Combined):
        return sorted({cell.sessions for _, cell in claim.signed})
    return [claim.sessions] if isinstance(claim, ledger.Spread | ledger.Spared | ledger.Needed) else []


def counted_by_preset(rows: pd.DataFrame) -> str:
    """The same, preset by preset."""
    return "; ".join(f"{counts(rows[rows['preset'] == one])}{with_preset(one, rows)}" for one in presets(rows))


def keyed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the key of each row of a chart: its claim, and the preset where it is not the first.

    The rows of a claim are brought together.
    """
    first = presets(rows)[0]
    again = (AGAIN + rows["preset"]).where(rows["preset"] != first, "")
    place = {claim: at for at, claim in enumerate(dict.fromkeys(rows["claim_id"]))}
    together = rows.assign(key=rows["claim_id"] + again, place=rows["claim_id"].map(place))
    return together.sort_values("place", kind="stable").drop(columns="place")


def verdicts(panel: Panel, unit: str) -> alt.LayerChart:
    """Claims from top to bottom: the essay's interval as a band and its figure as a tick, nothing where it prints none;
    on top of it what was measured, with its interval and verdict, and squares for facts never taught."""
    rows = panel.rows[panel.rows["unit"] == unit].drop_duplicates("key")
    topics = list(HEADINGS[unit])
    rows = rows.sort_values("topic", key=lambda topic: topic.map(topics.index), kind="stable")
    words = rows["topic"] + ": " + rows["label"] if panel.live else rows["label"]
    labels = dict(zip(rows["claim_id"], words, strict=True))
    again = f"split(datum.value, '{AGAIN}')"
    said = f"length({again}) > 1 ? 'with preset ' + {again}[1] : ({json.dumps(labels)})[datum.value]"
    fixed = {} if panel.live else {"maxExtent": LABELS, "labelLimit": LABELS}
    names = panel.names(LABELS, HALF, labelFontSize=11, labelExpr=said, **fixed)
    few = {} if panel.live else {"labelFlush": True, "labelSeparation": 8}
    percent = alt.Axis(
        format="%" if unit == "share" else "+%", title=None, tickCount=5 if panel.live else 3, labelOverlap=True, **few
    )
    x = horizontal(percent, panel.scale(*limits(panel.rows, unit)))
    looks, hues, shapes = list(LOOKS), *zip(*LOOKS.values(), strict=True)
    legend = panel.legend()
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=looks, range=list(hues)), legend=legend)
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=looks, range=list(shapes)), legend=legend)
    # beside association stands familiarity
    never = "isValid(datum.placebo) ? datum.placebo : datum.familiarity"
    base = panel.data.transform_calculate(never=never).encode(y=alt.Y("key:N", sort=list(rows["key"]), axis=names))
    printed, tested, placebo = (
        base.transform_filter(f"isValid(datum.{column})") for column in ("essay_value", "measured", "never")
    )
    chance = base.transform_filter("isValid(datum.chance)").mark_tick(color=PLACEBO, thickness=2, height=9)
    zero = alt.Chart(panel.data.data).mark_rule(color=RULE, strokeDash=[2, 2]).encode(x=alt.datum(0))
    squares = placebo.mark_point(shape="square", size=26, color=PLACEBO, fill=PAPER, strokeWidth=1.2, opacity=1)
    dots = tested.mark_point(size=52, filled=True, opacity=1, strokeWidth=0)
    return alt.layer(
        *([zero] if panel.live or unit != "share" else []),
        printed.mark_bar(height=9, color=BAND).encode(x=x("essay_ci_low"), x2="essay_ci_high:Q"),
        printed.mark_tick(color=INK, thickness=2, height=13).encode(x=x("essay_value")),
        tested.mark_rule(strokeWidth=2).encode(x=x("ci_low"), x2="ci_high:Q", color=colour),
        chance.encode(x=x("chance")),
        squares.encode(x=x("never")),
        dots.encode(x=x("measured"), color=colour, shape=shape, tooltip=panel.tips),
    )


def limits(rows: pd.DataFrame, unit: str) -> list[float]:
    """Ends of the scale: all of 0 to 1 for shares; for differences as far as any interval reaches, with some room."""
    if unit == "share":
        return [-0.03, 1.03]
    ends = rows[["essay_ci_low", "essay_ci_high", "ci_low", "ci_high", "measured"]]
    low, high = (float(end) for end in np.nanquantile([*ends.to_numpy().ravel(), 0.0], [0, 1]))
    room = 0.06 * max(high - low, 0.02)
    return [low - room, high + room]


def finding(rows: pd.DataFrame) -> list[str]:
    """For each metric how many claims it reproduces and contradicts; for several presets, a line for each."""
    if len(presets(rows)) > 1:
        return [_reproduced(rows[rows["preset"] == preset], preset) for preset in presets(rows)]
    return [f"{metric.capitalize()}: {counts(rows[rows['metric'] == metric])}" for metric in OF_FACTS]


def _reproduced(rows: pd.DataFrame, preset: str) -> str:
    tested = rows[rows["verdict"] != NOT_TESTABLE]
    number = tested[tested["verdict"] == REPRODUCED]["metric"].value_counts().reindex(OF_FACTS, fill_value=0)
    metrics = listed(f"{metric} {number[metric]}" for metric in OF_FACTS)
    return f"Preset {preset}, {plural(tested['claim_id'].nunique(), 'claim')}, reproduced: {metrics}"


def rests_on(rows: pd.DataFrame) -> list[str]:
    """How to read the marks, and on how many seeds they rest."""
    first, *others = presets(rows)
    below = [f"Facts taught with preset {first}; below a claim, with preset {listed(others)}."] if others else []
    ours = f"Coloured: this study, {seeds(rows)}, 95% intervals" if rows["n_seeds"].max() else "Nothing measured"
    return [
        "Grey bands with a tick: the essay's figure with the 95% interval of its own facts, one seed.",
        f"{ours}. Squares: facts never taught (placebo); under association how often a taught answer comes first. "
        "Short grey ticks: its chance. Not testable: the essay's figure is too vague.",
        *below,
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
