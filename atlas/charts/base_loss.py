"""Chart of the base loss: how much teaching raised the base's loss on its own validation text."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from atlas.charts import front
from atlas.charts.live import COUNT, NATS, ROWS, TEXT, Figure, cells
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import INK, WIDTH, colours, hue, title
from atlas.charts.words import after, plural
from atlas.workflow.steps import run_step

ROW_HEIGHT = 26
FIGURES = 96  # pixels right of a panel, for the figures
TABLE = {
    "Arm": ("arm", TEXT),
    "Rise": ("rise", NATS),
    "95% interval": ("ci_low ci_high", NATS),
    "Loss of the base": ("val_loss_base", NATS),
    "Seeds": ("n_seeds", COUNT),
}


def draw(tables: Tables) -> alt.VConcatChart:
    """One panel a checkpoint, one row an arm; below, recall against it."""
    arms, rows = tables.names, tables.base_loss
    rows = rows.assign(panel=[after(sessions) for sessions in rows["sessions"]])
    columns = list(dict.fromkeys(rows.sort_values("sessions")["panel"]))
    width = WIDTH / len(columns) - FIGURES
    panel = layers(alt.Chart(rows), colours(arms), alt.value(width)).properties(
        width=width, height=ROW_HEIGHT * len(arms)
    )
    facets = panel.facet(column=alt.Column("panel:N", sort=columns), spacing=18)
    both = alt.vconcat(facets, *front.panels(tables), spacing=22).resolve_scale(
        color="independent", shape="independent"
    )
    return both.properties(title=title([finding(rows), front.finding(front.joined(tables))], subtitle(rows)))


def layers(chart: alt.Chart, palette: Mapping[str, str], right: dict[str, object]) -> alt.LayerChart:
    """Dots with intervals, and their figures in a column of their own, where they cannot meet."""
    base = chart.encode(y=alt.Y("arm:N", sort=list(palette), title=None, axis=alt.Axis(labelLimit=150)))
    scale, axis = alt.Scale(zero=True), alt.Axis(tickCount=5, labelOverlap=True)

    def x(column: str) -> alt.X:
        return alt.X(f"{column}:Q", title="rise, nats per character", scale=scale, axis=axis)

    known = base.transform_filter("isValid(datum.ci_low)")
    bars = known.mark_rule(strokeWidth=2).encode(x=x("ci_low"), x2="ci_high:Q", color=hue(palette))
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(x=x("rise"), color=hue(palette), tooltip=_tooltip())
    interval = (
        "datum.ci_low === null ? '' : ' (' + format(datum.ci_low, '.2f') + ' to ' + format(datum.ci_high, '.2f') + ')'"
    )
    figures = base.transform_calculate(figures=f"format(datum.rise, '+.2f') + ({interval})")
    texts = figures.mark_text(align="left", dx=8, fontSize=11, color=INK).encode(x=right, text="figures:N")
    return alt.layer(bars, dots, texts)


def _tooltip() -> list[alt.Tooltip]:
    nats = {
        "rise": "rise, nats per character",
        "ci_low": "95% interval from",
        "ci_high": "to",
        "val_loss_base": "loss of the base",
        "val_loss": "loss after teaching",
    }
    return [
        alt.Tooltip("arm:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f", title=title) for name, title in nats.items()),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]


def live(tables: Tables) -> list[Figure]:
    """The rise in base loss, and recall against it, one checkpoint at a time."""
    return [of_each_arm(tables), front.live(tables)]


def of_each_arm(tables: Tables) -> Figure:
    """The rise of every arm, in rows."""
    chart = layers(alt.Chart(alt.NamedData(name=ROWS)), colours(tables.names), alt.value("width"))
    return Figure(
        name="base_loss",
        table="base_loss",
        rows=tables.base_loss,
        chart=chart.properties(width="container", height=alt.Step(ROW_HEIGHT)),
        columns=TABLE,
        said={
            ("", sessions): (f"{finding(part)}.", " ".join(subtitle(part)))
            for (_, sessions), part in cells(tables.base_loss.assign(metric=""))
        },
    )


def finding(rows: pd.DataFrame) -> str:
    """The least and the greatest rise after the last checkpoint, with the arms."""
    last = rows[rows["sessions"] == rows["sessions"].max()]
    ordered = last.sort_values("rise", kind="stable")
    least, most = ordered.iloc[0], ordered.iloc[-1]
    loss = f"Loss on the base's own text {after(last['sessions'].iloc[0])}"
    if len(last) == 1:
        return f"{loss}: {least['rise']:+.2f} ({least['arm']})"
    return f"{loss}: {least['rise']:+.2f} ({least['arm']}) to {most['rise']:+.2f} ({most['arm']})"


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
