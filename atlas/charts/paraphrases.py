"""Chart of the paraphrases: recall in held-out paraphrases against how many were taught, place by place."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from atlas.charts import scatter
from atlas.charts.live import COUNT, NARROW, ROWS, SHARE, TEXT, Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import WIDTH, colours, hue, share_tips, title
from atlas.charts.words import SHORT, after, basis, listed, plural
from atlas.workflow.steps import run_step

SERIES = {"rephrase": "in a form never taught", "taught": "as taught"}
TABLE = {
    "Arm": ("arm", TEXT),
    "Forms taught": ("paraphrases", COUNT),
    "Asked": ("series", TEXT),
    "Value": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Seeds": ("n_seeds", COUNT),
    "Facts a seed": ("n_facts", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One panel a checkpoint, of recall."""
    rows, palette = dressed(tables.paraphrases), colours(tables.names)
    recall = rows[rows["metric"] == "recall"]
    panels = [panel(part, palette, first=at == 0) for at, (_, part) in enumerate(recall.groupby("sessions"))]
    return alt.vconcat(*panels, spacing=18).properties(title=title(finding(recall), subtitle(recall)))


def dressed(paraphrases: pd.DataFrame) -> pd.DataFrame:
    """How each row was asked, in words, and where it stands beside the others of its number of paraphrases."""
    series = paraphrases["probe"].map(SERIES)
    return paraphrases.assign(series=series, slot=paraphrases["place"] + ", " + series).drop(
        columns=["contract", "recipe"]
    )


def panel(rows: pd.DataFrame, palette: Mapping[str, str], first: bool) -> alt.LayerChart:
    """One checkpoint; each place is named where its line of paraphrases never taught ends."""
    legend = alt.Legend(orient="top", title=None, symbolType="stroke") if first else None
    unseen = rows[rows["probe"] == "rephrase"].sort_values("paraphrases", kind="stable")
    ends = unseen.drop_duplicates("place", keep="last").assign(arm=lambda part: part["place"])
    heading = alt.TitleParams(after(rows["sessions"].iloc[0]), fontSize=13, fontWeight=600, offset=4)
    layered = alt.layer(lines(alt.Chart(rows), palette, legend), *scatter.names(ends, palette))
    return layered.properties(width=WIDTH - scatter.NAMES, height=scatter.HEIGHT, title=heading)


def lines(chart: alt.Chart, palette: Mapping[str, str], legend: alt.Legend | None) -> alt.LayerChart:
    """Two lines a place, with intervals: paraphrases never taught, and dashed, the sentence as taught."""
    x = alt.X(
        "paraphrases:O",
        scale=alt.Scale(type="band", paddingInner=0.7),
        title="paraphrases taught beside each sentence",
        axis=alt.Axis(labelAngle=0, grid=False),
    )
    dashes = alt.Scale(domain=list(SERIES.values()), range=[[1, 0], [3, 3]])
    beside = alt.XOffset("slot:N")  # so that intervals do not meet
    base = chart.encode(x=x, xOffset=beside, color=hue(palette, "place"), detail="slot:N")
    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=1.5)
    line = base.mark_line(strokeWidth=2).encode(
        y=scatter.recall("value"), strokeDash=alt.StrokeDash("series:N", scale=dashes, legend=legend)
    )
    dots = base.mark_point(filled=True, size=46, opacity=1).encode(y=scatter.recall("value"), tooltip=_tooltip())
    return alt.layer(bars.encode(y=scatter.recall("ci_low"), y2="ci_high:Q"), line, dots)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("paraphrases:Q", title="paraphrases taught"),
        alt.Tooltip("series:N", title="asked"),
        *share_tips("value"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]


def live(tables: Tables) -> Figure:
    """One metric and checkpoint at a time."""
    rows = dressed(tables.paraphrases)
    chart = lines(
        alt.Chart(alt.NamedData(name=ROWS)), colours(tables.names), alt.Legend(orient="top", title=None, columns=NARROW)
    )
    return Figure(
        name="paraphrases",
        table="paraphrases",
        rows=rows,
        chart=chart.properties(width="container", height=280),
        columns=TABLE,
        said={cell: (f"{finding(part)}.", " ".join(subtitle(part))) for cell, part in cells(rows)},
    )


def finding(rows: pd.DataFrame) -> str:
    """What each place scores in paraphrases never taught, with the fewest and with the most paraphrases taught."""
    last = rows[(rows["sessions"] == rows["sessions"].max()) & (rows["probe"] == "rephrase")]
    said = []
    for place, part in last.sort_values("paraphrases", kind="stable").groupby("place", sort=False):
        few, many = part.iloc[0], part.iloc[-1]
        said.append(
            f"{place} {few['value']:.1%} with {few['paraphrases']}, {many['value']:.1%} with {many['paraphrases']}"
        )
    metric, sessions = SHORT[rows["metric"].iloc[0]], plural(int(last["sessions"].iloc[0]), "session")
    return f"{metric} in paraphrases never taught, after {sessions}, by paraphrases taught: {listed(said)}"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """What is asked, and on how much it rests."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    return [
        "Of the paraphrases, those alone are asked that no arm of the place was taught; a line is named by the arm "
        "with the fewest.",
        f"{basis(last).capitalize()}.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
