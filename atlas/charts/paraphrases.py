"""Chart of the paraphrases: recall of held-out paraphrases against how many were taught, place by place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import altair as alt
import pandas as pd

from atlas.charts import picture, scatter
from atlas.charts.findings import HEADLINE, after, basis, last, listed
from atlas.charts.frame import ARM, BASIS, Block, Chart, Panel, by_checkpoint, cells, measured, said, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import colours, hue
from atlas.metrics import REGISTRY

SERIES = {"rephrase": "by a held-out paraphrase", "taught": "as taught"}


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel a checkpoint, of recall; on the page one metric."""
    rows, palette = tables.paraphrases.drop(columns=["contract", "recipe"]), colours(tables.names)
    series = rows["probe"].map(SERIES)
    rows = rows.assign(series=series, slot=rows["place"] + ", " + series)  # a slot a line
    pictured = rows[rows["metric"] == HEADLINE]
    yield Chart(
        name="paraphrases",
        rows=rows,
        marks=lambda panel: lines(panel, palette),
        blocks=[Block(by_checkpoint(pictured), across=1)],
        title=finding(pictured),
        subtitle=rests_on(pictured),
        said=said(cells(rows), finding, rests_on),
        columns=ARM
        | told("count", paraphrases="Paraphrases taught")
        | told("text", series="Asked")
        | measured()
        | BASIS,
        **scatter.BESIDE_NAMES,
        titles=scatter.TITLES,
    )


def lines(panel: Panel, palette: Mapping[str, str]) -> alt.LayerChart:
    """Two lines a place, with intervals: held-out paraphrases, and dashed, the sentence as taught. In the picture each
    place is named where its line of held-out paraphrases ends."""
    x = alt.X(
        "paraphrases:O",
        scale=alt.Scale(type="band", paddingInner=0.7),
        title="paraphrases taught beside each sentence",
        axis=alt.Axis(labelAngle=0, grid=False),
    )
    dashes = alt.Scale(domain=list(SERIES.values()), range=[[1, 0], [3, 3]])
    dash = alt.StrokeDash("series:N", scale=dashes, legend=panel.legend(symbolType="stroke"))
    beside = alt.XOffset("slot:N")  # so that intervals do not meet
    base = panel.data.encode(x=x, xOffset=beside, color=hue(palette, "place"), detail="slot:N")
    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=1.5)
    layers = [
        bars.encode(y=scatter.recall("ci_low"), y2="ci_high:Q"),
        base.mark_line(strokeWidth=2).encode(y=scatter.recall("value"), strokeDash=dash),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=scatter.recall("value"), tooltip=panel.tips),
    ]
    if panel.live:
        return alt.layer(*layers)
    held_out = panel.rows[panel.rows["probe"] == "rephrase"].sort_values("paraphrases", kind="stable")
    ends = held_out.drop_duplicates("place", keep="last").assign(arm=lambda part: part["place"])
    return alt.layer(*layers, scatter.names(ends, palette))


def finding(rows: pd.DataFrame) -> list[str]:
    """What each place scores by held-out paraphrases, with the fewest and with the most paraphrases taught."""
    ended = last(rows[rows["probe"] == "rephrase"])
    places = []
    for place, part in ended.sort_values("paraphrases", kind="stable").groupby("place", sort=False):
        few, many = (f"{row['value']:.1%} with {row['paraphrases']}" for row in part.iloc[[0, -1]].to_dict("records"))
        places.append(f"{place} {few}, {many}")
    what = f"{REGISTRY[rows['metric'].iloc[0]].label} by held-out paraphrases {after(ended['sessions'].iloc[0])}"
    return [f"{what}, by paraphrases taught: {listed(places)}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """What is asked, and on how much it rests."""
    return [
        "Asked are only those paraphrases that no arm of the place was taught; a line is named by the arm with the "
        "fewest.",
        f"{basis(last(rows)).capitalize()}.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
