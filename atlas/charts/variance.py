"""Chart of the variance: how much of each score is recipe, placement, size of the adapter, seed, or none of these."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import after, last, percent, seeds
from atlas.charts.frame import HALF, RIGHT, Block, Chart, Panel, by_checkpoint, cells, horizontal, measured, said, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLUE, INK, RULE, WIDTH
from atlas.metrics import OF_FACTS, REGISTRY

FIGURES = 40  # pixels right of a panel, for the figures


def charts(tables: Tables) -> Iterator[Chart]:
    """One block a metric, in it one panel a checkpoint and one bar a source.

    The decomposition is of all arms of the design, whichever are chosen on the page.
    """
    rows = dressed(tables.variance)
    rows["arm"] = pd.Series([tables.names] * len(rows), index=rows.index)
    by_metric = [(metric, rows[rows["metric"] == metric]) for metric in OF_FACTS if metric in set(rows["metric"])]
    yield Chart(
        name="variance",
        rows=rows,
        marks=bars,
        blocks=[Block(by_checkpoint(part.drop(columns="arm")), REGISTRY[metric].label) for metric, part in by_metric],
        title=finding(by_metric[0][1]),
        subtitle=rests_on(rows),
        said=said(cells(rows), finding, rests_on),
        columns=told("text", source="Source") | measured("Share of the variance") | told("count", n_seeds="Seeds"),
        width=WIDTH / rows["sessions"].nunique() - FIGURES,
        height=alt.Step(22),
        gap=FIGURES,
    )


def dressed(variance: pd.DataFrame) -> pd.DataFrame:
    """Facts as taught, the share under the name that charts give it."""
    return variance[variance["probe"] == "taught"].drop(columns=["contract"]).rename(columns={"share": "value"})


def bars(panel: Panel) -> alt.LayerChart:
    """Bars with intervals, and their figures in a column of their own."""
    sources = list(dict.fromkeys(panel.rows["source"]))
    names = panel.names(6.8 * max(map(len, sources)), HALF)
    base = panel.data.encode(y=alt.Y("source:N", sort=sources, axis=names))
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title=None, labelFlush=False)
    # a share may fall a little below 0, an interval far
    x = horizontal(axis, alt.Scale(domain=[-0.1, 1], nice=False, clamp=True))
    zero = alt.Chart(panel.data.data).mark_rule(color=RULE).encode(x=alt.datum(0))
    figures = base.mark_text(align="left", dx=8, fontSize=11, color=INK)
    return alt.layer(
        base.mark_bar(height=10, color=BLUE, opacity=0.7).encode(x=x("value"), tooltip=panel.tips),
        zero,
        base.mark_rule(strokeWidth=1.5, color=INK).encode(x=x("ci_low"), x2="ci_high:Q"),
        figures.encode(x=RIGHT, text=alt.Text("value:Q", format=".0%")),
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """What recipe and place explain of the metric of the rows after the last checkpoint, and what neither does."""
    ended = last(rows)
    share = ended.set_index("source")["value"].clip(lower=0)
    factors = ", ".join(f"{name} {percent(share[name])}" for name in ("recipe", "place", "size") if name in share)
    rest = percent(max(0, ended.set_index("source")["value"][["seed", "error"]].sum()))
    what = f"Variance of {REGISTRY[ended['metric'].iloc[0]].label.lower()} {after(ended['sessions'].iloc[0])}"
    return [f"{what}: {factors}; seeds and error {rest}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """The design, seeds, and what the intervals are."""
    return [
        f"Facts as taught; {rows['levels'].iloc[0]}.",
        f"Omega squared of a full factorial, {seeds(rows)} as blocks; lines: 95% interval, jackknife over seeds. A "
        "source with a cross is what factors do together and not apart.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
