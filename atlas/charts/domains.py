"""Chart of retention by arm and domain, domains from many facts to few: a figure and its interval in every cell."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import AMONG_TAUGHT, ESSAYS, HEADLINE, after, last, left_out, listed, percent, seeds
from atlas.charts.frame import ARM, BASIS, Block, Chart, Panel, cells, horizontal, measured, said, told
from atlas.charts.retention import page_rows
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLUE, INK, PAPER
from atlas.metrics import REGISTRY

FEW = 30  # facts of all seeds together, below which a cell is hardly an estimate


def charts(tables: Tables) -> Iterator[Chart]:
    """One block of cells a metric, after the last checkpoint."""
    arms, rows = tables.names, page_rows(tables)
    mine = rows[(rows["domain"] != "all") & (rows["probe"] == "taught")]
    pictured, whole = last(mine), rows[(rows["domain"] == "all") & (rows["probe"] == "taught")]
    panels = [(REGISTRY[metric].title, pictured[pictured["metric"] == metric]) for metric in (HEADLINE, ESSAYS)]

    def finding(rows: pd.DataFrame) -> list[str]:
        return [ends(rows, arms[0])]

    def basis(part: pd.DataFrame) -> list[str]:
        same = whole["metric"].isin(part["metric"]) & whole["sessions"].isin(part["sessions"])
        return [*rests_on(part), *left_out(whole[same])]

    yield Chart(
        name="domains",
        rows_of="retention",
        rows=rows,
        where={"domain": list(sizes(mine)), "probe": ["taught"]},
        marks=lambda panel: squares(panel, arms, sizes(mine)),
        blocks=[Block(panels, across=1)],
        title=finding(panels[0][1]),
        subtitle=rests_on(pictured),
        said=said(cells(mine), finding, basis),
        columns=ARM
        | told("text", domain="Domain")
        | measured()
        | told("share", placebo="Placebo", chance="Chance")
        | BASIS
        | told("count", left_out="Left out"),
        height=alt.Step(32),
        gap=26,
        titles={"fontSize": 13, "offset": 10},
    )


def sizes(rows: pd.DataFrame) -> dict[str, int]:
    """Domains from large to small, with the facts of a seed."""
    found: pd.Series[int] = rows.groupby("domain")["n_facts"].max().sort_values(ascending=False, kind="stable")
    return {str(domain): int(n) for domain, n in found.items()}


def squares(panel: Panel, arms: list[str], columns: dict[str, int]) -> alt.LayerChart:
    """A cell for each arm and domain: the deeper, the more; the figure; below it the interval from 0 to 100%.

    Cells stand on a scale of numbers, one a domain, so that an interval can be drawn inside a cell. Columns of the page
    may be too narrow for words side by side.
    """
    domains = list(columns)
    labels = domains if panel.live else [f"{domain}|{n}" for domain, n in columns.items()]
    axis = alt.Axis(
        orient="top",
        values=[place + 0.5 for place in range(len(domains))],
        labelExpr=f"split({labels}[floor(datum.value)], '|')",
        labelLineHeight=14,
        labelPadding=6 if panel.live else 22,
        labelAngle=alt.ExprRef("width < 480 ? -55 : 0") if panel.live else 0,
        labelAlign=alt.ExprRef("width < 480 ? 'left' : 'center'") if panel.live else "center",
        ticks=False,
        domain=False,
        grid=False,
        title=None,
        labelOverlap=False,
    )
    x = horizontal(axis, alt.Scale(domain=[0, len(domains)], nice=False))
    inside = {"low": "ci_low", "high": "ci_high", "dot": "value", "never": "placebo", "by_chance": "chance"}
    base = (
        panel.data.transform_calculate(place=f"indexof({domains}, datum.domain)")
        .transform_calculate(
            end="datum.place + 1",
            middle="datum.place + 0.5",
            depth="clamp(datum.value, 0, 1)",
            **{name: f"datum.place + 0.08 + 0.84 * datum.{column}" for name, column in inside.items()},
        )
        .encode(y=alt.Y("arm:N", sort=arms, axis=panel.names()), tooltip=panel.tips)
    )
    tint = alt.FillOpacity("depth:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 0.62]), legend=None)
    rects = base.mark_rect(fill=BLUE, stroke=PAPER, strokeWidth=2)
    figures = base.mark_text(fontSize=11, dy=-5, color=INK)
    whiskers = base.mark_rule(strokeWidth=1.5, color=INK, yOffset=9)
    ticks = base.mark_point(shape="circle", filled=True, size=16, color=INK, opacity=1, yOffset=9)
    known = base.transform_filter("isValid(datum.placebo)")
    never = known.mark_point(shape="square", size=22, color=INK, strokeWidth=1, opacity=1, yOffset=9)
    chance = base.transform_filter("isValid(datum.chance)").mark_tick(
        orient="vertical", color=INK, thickness=1.5, height=9, yOffset=9
    )
    return alt.layer(
        rects.encode(x=x("place"), x2="end:Q", fillOpacity=tint),
        whiskers.encode(x=x("low"), x2="high:Q"),
        never.encode(x=x("never")),
        chance.encode(x=x("by_chance")),
        ticks.encode(x=x("dot")),
        figures.encode(x=x("middle"), text=alt.Text("value:Q", format=".0%")),
    )


def ends(rows: pd.DataFrame, arm: str) -> str:
    """The metric of some rows, of one arm, in the largest and in the smallest domain."""
    mine = rows[rows["arm"] == arm].set_index("domain")["value"].to_dict()
    domains = [domain for domain in sizes(rows) if domain in mine]
    large, small = (f"{percent(mine[domain])} of {domain}" for domain in (domains[0], domains[-1]))
    what = f"{REGISTRY[rows['metric'].iloc[0]].label} of {arm} {after(rows['sessions'].iloc[0])}"
    if len(domains) == 1:
        return f"{what}: {large}, the only domain"
    return f"{what}: {large}, the largest domain; {small}, the smallest"


def rests_on(rows: pd.DataFrame) -> list[str]:
    """Seeds, how to read a cell, and how much the smallest domains can tell."""
    square = "the square facts never taught"
    if set(rows["metric"]) == {AMONG_TAUGHT}:
        square = "the square how often a taught answer comes first on prompts never taught, the tick chance"
    lines = [
        f"Taught facts {after(rows['sessions'].iloc[0])}; {seeds(rows)}; below each domain its facts a seed; the line "
        f"in a cell is the 95% interval, from 0% at its left end to 100% at its right, {square}."
    ]
    if few := list(rows.loc[rows["n_tests"] < FEW, "domain"].unique()):
        lines.append(f"Fewer than {FEW} facts in all seeds together, so hardly an estimate: {listed(few)}.")
    return lines


if __name__ == "__main__":
    picture.step(__doc__, charts)
