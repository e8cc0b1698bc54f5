"""Chart of the harm: how much teaching raised the base's loss on its own validation text."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import INK, WIDTH, colours, title
from atlas.charts.words import plural
from atlas.steps import run_step

ROW_HEIGHT = 26


def draw(tables: Tables) -> alt.FacetChart:
    """One panel a checkpoint, one row an arm."""
    arms, rows = tables.names, tables.harm
    rows = rows.assign(panel=[f"after {sessions} sessions" for sessions in rows["sessions"]])
    columns = list(dict.fromkeys(rows.sort_values("sessions")["panel"]))
    palette = colours(arms)
    colour = alt.Color("arm:N", scale=alt.Scale(domain=arms, range=list(palette.values())), legend=None)
    base = alt.Chart(rows).encode(y=alt.Y("arm:N", sort=arms, title=None), color=colour)
    x_title = "rise, nats per character"
    zero = alt.Scale(zero=True)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("ci_low:Q", title=x_title, scale=zero), x2="ci_high:Q")
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("value:Q", scale=zero))
    figures = base.mark_text(align="left", dx=9, dy=-8, fontSize=11).encode(
        color=alt.value(INK), x="value:Q", text=alt.Text("value:Q", format="+.2f")
    )
    panel = alt.layer(bars, dots, figures).transform_calculate(value="datum.rise")
    panel = panel.properties(width=WIDTH / len(columns) - 20, height=ROW_HEIGHT * len(arms))
    facets = panel.facet(column=alt.Column("panel:N", sort=columns), spacing=28)
    return facets.properties(title=title(finding(rows), subtitle(rows)))


def finding(rows: pd.DataFrame) -> str:
    """Least and most harm after the last checkpoint, with the arms."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    ordered = last.sort_values("rise", kind="stable")
    least, most = ordered.iloc[0], ordered.iloc[-1]
    after = f"Loss on the base's own text after {last['sessions'].iloc[0]} sessions"
    if len(last) == 1:
        return f"{after}: {least['rise']:+.2f} ({least['arm']})"
    return f"{after}: {least['rise']:+.2f} ({least['arm']}) to {most['rise']:+.2f} ({most['arm']})"


def subtitle(rows: pd.DataFrame) -> list[str]:
    """The base's own loss, seeds and intervals."""
    low, high = rows["val_loss_base"].min(), rows["val_loss_base"].max()
    base = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}, by arm"
    seeds = int(rows["n_seeds"].max())
    bars = "bars: 95% interval over seeds" if seeds > 1 else "one seed, so no interval"
    return [f"Nats per character, against the untaught base ({base}); {plural(seeds, 'seed')}; {bars}."]


def main() -> None:
    """Draw the chart from the tables given."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
