"""Chart of the capacity: recall of all facts taught so far against facts per trainable parameter, one line an arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import altair as alt
import pandas as pd

from atlas.charts import picture, scatter
from atlas.charts.curve import thinned
from atlas.charts.findings import interval, listed, percent, seeds
from atlas.charts.frame import ARM, BASIS, Block, Chart, Panel, measured, said, told, up_to
from atlas.charts.study_tables import Tables
from atlas.charts.theme import colours, hue
from atlas.phrases import plural

HELD = 0.9  # recall at which an arm still holds its facts, for the title
FEW = 3  # arms that the title names


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel a recipe; on the page all arms in one, up to the sessions that are chosen."""
    rows, palette = tables.capacity.rename(columns={"session": "sessions"}), colours(tables.names)
    rows = rows[rows["sessions"].isin(thinned(sorted(set(rows["sessions"])), always=()))]
    rows = rows.assign(load=1000 * rows["facts_per_parameter"]).drop(columns=["facts_per_parameter", "targets"])
    yield Chart(
        name="capacity",
        rows=rows,
        marks=lambda panel: lines(panel, palette, rows),
        blocks=[Block([(f"preset {recipe}", part) for recipe, part in rows.groupby("recipe", sort=False)], across=1)],
        title=finding(rows),
        subtitle=rests_on(rows),
        said=said(up_to(rows, tables.retention["sessions"]), finding, rests_on),
        columns=ARM
        | told("count", sessions="After session", load="Facts per 1,000 parameters")
        | measured("Recall")
        | BASIS,
        **scatter.BESIDE_NAMES,
        titles=scatter.TITLES,
        until=True,
    )


def lines(panel: Panel, palette: Mapping[str, str], all_rows: pd.DataFrame) -> alt.LayerChart:
    """A line with its band for each arm, named where it ends; on the page, dashes tell several recipes apart."""
    domain = (
        {} if panel.live else {"domain": [float(end) for end in all_rows["load"].agg(["min", "max"])], "nice": False}
    )
    axis = alt.Axis(tickCount=5, format="~g", labelOverlap=True)
    x = alt.X(
        "load:Q", title="facts per thousand trainable parameters", scale=alt.Scale(type="log", **domain), axis=axis
    )
    base = panel.data.encode(x=x, color=hue(palette), detail="arm:N")
    band = base.mark_area(opacity=0.16).encode(y=scatter.recall("ci_low"), y2="ci_high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=scatter.recall("value"))
    points = base.mark_point(size=40, opacity=0).encode(y=scatter.recall("value"), tooltip=panel.tips)
    if panel.live:
        if all_rows["recipe"].nunique() > 1:
            line = line.encode(strokeDash=alt.StrokeDash("recipe:N", legend=panel.legend(symbolType="stroke")))
        return alt.layer(band, line, points)
    ends = panel.rows.sort_values("sessions", kind="stable").drop_duplicates("arm", keep="last")
    return alt.layer(band, line, points, scatter.names(ends, palette))


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


def finding(rows: pd.DataFrame) -> list[str]:
    """The arms that hold most facts per parameter."""
    most = held(rows)
    if most.empty:
        return [f"No arm recalls {percent(HELD)} of what it was taught, however few facts that were"]
    arms = listed(f"{arm} {load:.2g}" for arm, load in most.head(FEW).items())
    return [f"Facts per thousand parameters up to which an arm recalls {percent(HELD)} of them: {arms}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """How to read the lines, and on how much they rest."""
    facts = plural(int(rows["n_facts"].max()), "fact")
    return [f"Recall of all facts taught so far, up to {facts}; {seeds(rows)}; {interval(rows, 'bands')}."]


if __name__ == "__main__":
    picture.step(__doc__, charts)
