"""Chart of the variance: how much of each score is recipe, placement, size of the adapter, seed, or none of these."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts.live import COUNT, HALF, ROWS, SHARE, TEXT, Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import BLUE, INK, RULE, WIDTH, share_tips, title
from atlas.charts.words import SHORT, percent, plural
from atlas.metrics import OF_FACTS
from atlas.workflow.steps import run_step

ROW_HEIGHT = 22
FIGURES = 40  # pixels right of a panel, for the figures
TABLE = {
    "Source": ("source", TEXT),
    "Share of the variance": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Seeds": ("n_seeds", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One block a metric, in it one panel a checkpoint and one bar a source."""
    rows = dressed(tables.variance)
    metrics = [metric for metric in OF_FACTS if metric in set(rows["metric"])]
    blocks = [block(rows[rows["metric"] == metric], SHORT[metric]) for metric in metrics]
    return alt.vconcat(*blocks, spacing=18).properties(title=title(finding(rows), subtitle(rows)))


def dressed(variance: pd.DataFrame) -> pd.DataFrame:
    """Facts as taught, the panel of each row, and the share under the name that charts give it."""
    rows = variance[variance["probe"] == "taught"].drop(columns=["contract"]).rename(columns={"share": "value"})
    return rows.assign(panel=[f"after {sessions} sessions" for sessions in rows["sessions"]])


def block(rows: pd.DataFrame, heading: str) -> alt.FacetChart:
    """The panels of one metric."""
    columns = list(dict.fromkeys(rows.sort_values("sessions")["panel"]))
    sources = list(dict.fromkeys(rows["source"]))
    width = WIDTH / len(columns) - FIGURES
    names = alt.Axis(minExtent=round(6.8 * max(map(len, sources))))
    panel = layers(alt.Chart(rows), sources, names, alt.value(width)).properties(
        width=width, height=ROW_HEIGHT * len(sources)
    )
    text = alt.TitleParams(heading, fontSize=13, fontWeight=600, offset=4)
    return panel.facet(column=alt.Column("panel:N", sort=columns), title=text, spacing=FIGURES)


def layers(chart: alt.Chart, sources: list[str], names: alt.Axis, right: dict[str, object]) -> alt.LayerChart:
    """Bars with intervals, and their figures in a column of their own."""
    base = chart.encode(y=alt.Y("source:N", sort=sources, title=None, axis=names))
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], title=None, labelFlush=False)
    scale = alt.Scale(domain=[-0.1, 1], nice=False, clamp=True)  # a share may fall a little below 0, an interval far

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", axis=axis, scale=scale)

    zero = alt.Chart(chart.data).mark_rule(color=RULE).encode(x=alt.datum(0))
    bars = base.mark_bar(height=10, color=BLUE, opacity=0.7).encode(x=x("value"), tooltip=_tooltip())
    ends = base.mark_rule(strokeWidth=1.5, color=INK).encode(x=x("ci_low"), x2="ci_high:Q")
    texts = base.transform_calculate(figures="format(datum.value, '.0%')").mark_text(
        align="left", dx=8, fontSize=11, color=INK
    )
    return alt.layer(bars, zero, ends, texts.encode(x=right, text="figures:N"))


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("source:N"),
        *share_tips("share of the variance"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]


def live(tables: Tables) -> Figure:
    """One metric and checkpoint at a time; the decomposition is of all arms of the design, whichever are chosen."""
    rows = dressed(tables.variance)
    rows["arm"] = pd.Series([tables.names for _ in rows.index], index=rows.index)
    sources = list(dict.fromkeys(rows["source"]))
    chart = layers(alt.Chart(alt.NamedData(name=ROWS)), sources, alt.Axis(labelLimit=HALF), alt.value("width"))
    return Figure(
        name="variance",
        table="variance",
        rows=rows,
        chart=chart.properties(width="container", height=alt.Step(ROW_HEIGHT)),
        columns=TABLE,
        said={cell: (f"{finding(part)}.", " ".join(subtitle(part))) for cell, part in cells(rows)},
    )


def finding(rows: pd.DataFrame) -> str:
    """What explains most of recall (of the first metric there is) after the last checkpoint, and what recipe and place
    explain."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    last = last[last["metric"] == next(metric for metric in OF_FACTS if metric in set(last["metric"]))]
    share = last.set_index("source")["value"]
    said = ", ".join(f"{name} {percent(max(0, share[name]))}" for name in ("recipe", "place", "size") if name in share)
    rest = percent(max(0, share["seed"] + share["error"]))
    metric, sessions = SHORT[last["metric"].iloc[0]], last["sessions"].iloc[0]
    return f"Variance of {metric.lower()} after {sessions} sessions: {said}; seeds and error {rest}"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """The design, seeds, and what the intervals are."""
    seeds = int(rows["n_seeds"].max())
    return [
        f"Facts as taught; {rows['levels'].iloc[0]}.",
        f"Omega squared of a full factorial, {plural(seeds, 'seed')} as blocks; lines: 95% interval, jackknife over "
        "seeds. What stands with a cross is what factors do together and not apart.",
    ]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
