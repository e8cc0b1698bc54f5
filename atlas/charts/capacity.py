"""Chart of the capacity: recall of all facts taught so far against facts per trainable parameter, one line an arm."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from atlas.charts import scatter
from atlas.charts.curve import thinned
from atlas.charts.live import COUNT, NARROW, ROWS, SHARE, TEXT, Figure
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import WIDTH, colours, hue, share_tips, title
from atlas.charts.words import interval, listed, percent, plural
from atlas.workflow.steps import run_step

HELD = 0.9  # recall at which an arm still holds its facts, for the title
FEW = 3  # arms that the title names
TABLE = {
    "Arm": ("arm", TEXT),
    "After session": ("sessions", COUNT),
    "Facts per 1,000 parameters": ("load", COUNT),
    "Recall": ("value", SHARE),
    "95% interval": ("ci_low ci_high", SHARE),
    "Seeds": ("n_seeds", COUNT),
    "Facts a seed": ("n_facts", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One panel a recipe."""
    rows, palette = dressed(tables.capacity), colours(tables.names)
    limits = [float(rows["load"].min()), float(rows["load"].max())]
    panels = [panel(rows[rows["recipe"] == recipe], palette, limits) for recipe in dict.fromkeys(rows["recipe"])]
    return alt.vconcat(*panels, spacing=18).properties(title=title(finding(rows), subtitle(rows)))


def dressed(capacity: pd.DataFrame) -> pd.DataFrame:
    """Some of the sessions of each line, and facts per thousand parameters as ``load``."""
    rows = capacity.rename(columns={"session": "sessions"}).assign(load=1000 * capacity["facts_per_parameter"])
    kept = thinned(sorted(set(rows["sessions"])), always=())
    return rows[rows["sessions"].isin(kept)].drop(columns=["facts_per_parameter", "targets"])


def panel(rows: pd.DataFrame, palette: Mapping[str, str], limits: list[float]) -> alt.LayerChart:
    """The arms of one recipe, each named beside where it ends."""
    ends = rows.sort_values("sessions", kind="stable").drop_duplicates("arm", keep="last")
    scale = alt.Scale(type="log", domain=limits, nice=False)
    shown = lines(alt.Chart(rows), palette, scale, several=False)
    heading = alt.TitleParams(f"preset {rows['recipe'].iloc[0]}", fontSize=13, fontWeight=600, offset=4)
    layered = alt.layer(shown, *scatter.names(ends, palette))
    return layered.properties(width=WIDTH - scatter.NAMES, height=scatter.HEIGHT, title=heading)


def lines(chart: alt.Chart, palette: Mapping[str, str], scale: alt.Scale, several: bool) -> alt.LayerChart:
    """A line with its band for each arm; recipes are told apart by dashes where there are ``several``."""
    axis = alt.Axis(tickCount=5, format="~g", labelOverlap=True)
    x = alt.X("load:Q", title="facts per thousand trainable parameters", scale=scale, axis=axis)
    base = chart.encode(x=x, color=hue(palette), detail="arm:N")
    band = base.mark_area(opacity=0.16).encode(y=scatter.recall("ci_low"), y2="ci_high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=scatter.recall("value"))
    points = base.mark_point(size=40, opacity=0).encode(y=scatter.recall("value"), tooltip=_tooltip())
    if several:
        legend = alt.Legend(orient="top", title=None, columns=NARROW, symbolType="stroke")
        line = line.encode(strokeDash=alt.StrokeDash("recipe:N", legend=legend))
    return alt.layer(band, line, points)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        *share_tips("recall"),
        alt.Tooltip("load:Q", format=".3g", title="facts per thousand parameters"),
        alt.Tooltip("n_facts:Q", title="facts a seed"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]


def live(tables: Tables) -> Figure:
    """All arms in one panel, up to the sessions that are chosen."""
    rows = dressed(tables.capacity)
    several = rows["recipe"].nunique() > 1
    chart = lines(alt.Chart(alt.NamedData(name=ROWS)), colours(tables.names), alt.Scale(type="log"), several)
    checkpoints = sorted(set(tables.retention["sessions"]))
    until = {sessions: rows[rows["sessions"] <= sessions] for sessions in checkpoints}
    return Figure(
        name="capacity",
        table="capacity",
        rows=rows,
        chart=chart.properties(width="container", height=300),
        columns=TABLE,
        said={("", n): (f"{finding(part)}.", " ".join(subtitle(part))) for n, part in until.items() if len(part)},
        until=True,
    )


def held(rows: pd.DataFrame) -> pd.Series[float]:
    """Arm to the greatest load before which recall never fell below ``HELD``, the greatest first; others are not there.

    Loads are those of the sessions after which all facts were measured.
    """
    loads = {}
    for arm, part in rows.groupby("arm", sort=False):
        ordered = part.sort_values("load")
        kept = ordered[(ordered["value"] >= HELD).cummin()]
        if len(kept):
            loads[str(arm)] = float(kept["load"].iloc[-1])
    return pd.Series(loads, dtype=float).sort_values(ascending=False, kind="stable")


def finding(rows: pd.DataFrame) -> str:
    """The arms that hold most facts per parameter."""
    most = held(rows)
    if most.empty:
        return f"No arm recalls {percent(HELD)} of what it was taught, however few facts that were"
    said = listed(f"{arm} {load:.2g}" for arm, load in most.head(FEW).items())
    return f"{percent(HELD)} recalled up to so many facts per thousand parameters: {said}"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """How to read the lines, and on how much they rest."""
    seeds, facts = plural(int(rows["n_seeds"].max()), "seed"), plural(int(rows["n_facts"].max()), "fact")
    return [f"Recall of all facts taught so far, up to {facts}; {seeds}; {interval(rows, 'bands')}."]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
