"""Chart of the base loss: how much teaching raised the base's loss on its own validation text, and what it bought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import altair as alt
import pandas as pd

from atlas.charts import picture, scatter
from atlas.charts.findings import after, basis, last, listed, seeds
from atlas.charts.frame import ARM, RIGHT, Block, Chart, Panel, by_checkpoint, cells, horizontal, measured, said, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import INK, WIDTH, colours, hue

FIGURES = 96  # pixels right of a panel, for the figures
COST = scatter.Cost("rise", "rise of the base's loss, nats per character", interval=("rise_low", "rise_high"))


def charts(tables: Tables) -> Iterator[Chart]:
    """The rise of every arm, one panel a checkpoint; below, recall against it."""
    yield of_each_arm(tables)
    yield front(tables)


def of_each_arm(tables: Tables) -> Chart:
    """The rise of every arm, in rows."""
    rows, palette = tables.base_loss, colours(tables.names)
    return Chart(
        name="base_loss",
        rows=rows,
        marks=lambda panel: rises(panel, palette),
        blocks=[Block(by_checkpoint(rows))],
        title=finding(rows),
        subtitle=rests_on(rows),
        said=said(cells(rows), finding, rests_on),
        columns=ARM
        | measured("Rise", "rise", "nats")
        | told("nats", val_loss_base="Loss of the base")
        | told("count", n_seeds="Seeds"),
        width=WIDTH / rows["sessions"].nunique() - FIGURES,
        height=alt.Step(26),
        gap=18,
        spacing=22,
    )


def rises(panel: Panel, palette: Mapping[str, str]) -> alt.LayerChart:
    """Dots with intervals, and their figures in a column of their own, where they cannot meet."""
    base = panel.data.encode(y=alt.Y("arm:N", sort=list(palette), axis=panel.names()))
    axis = alt.Axis(title="rise, nats per character", tickCount=5, labelOverlap=True)
    x = horizontal(axis, alt.Scale(zero=True))
    bars = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=2)
    dots = base.mark_point(filled=True, size=60, opacity=1)
    interval = (
        "datum.ci_low === null ? '' : ' (' + format(datum.ci_low, '.2f') + ' to ' + format(datum.ci_high, '.2f') + ')'"
    )
    figures = base.transform_calculate(figures=f"format(datum.rise, '+.2f') + ({interval})")
    texts = figures.mark_text(align="left", dx=8, fontSize=11, color=INK)
    return alt.layer(
        bars.encode(x=x("ci_low"), x2="ci_high:Q", color=hue(palette)),
        dots.encode(x=x("rise"), color=hue(palette), tooltip=panel.tips),
        texts.encode(x=RIGHT, text="figures:N"),
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """The least and the greatest rise after the last checkpoint, with the arms."""
    ended = last(rows)
    ends = ended.sort_values("rise", kind="stable").iloc[[0, -1] if len(ended) > 1 else [0]].to_dict("records")
    said = " to ".join(f"{row['rise']:+.2f} ({row['arm']})" for row in ends)
    return [f"Loss on the base's own text {after(ended['sessions'].iloc[0])}: {said}"]


def rests_on(rows: pd.DataFrame) -> list[str]:
    """The base's own loss, seeds and intervals."""
    low, high = (f"{end:.2f}" for end in rows["val_loss_base"].agg(["min", "max"]))
    base = low if low == high else f"{low} to {high}, by arm"
    bars = "bars: 95% interval over seeds" if rows["n_seeds"].max() > 1 else "one seed, so no interval"
    return [f"Nats per character, against the untaught base ({base}); {seeds(rows)}; {bars}."]


def front(tables: Tables) -> Chart:
    """Recall against the rise, one point an arm."""
    rows, palette = joined(tables), colours(tables.names)
    recipes = sorted(set(rows["recipe"]))
    panels = [(f"recall against the rise in base loss, {when}", part) for when, part in by_checkpoint(rows)]
    return Chart(
        name="front",
        rows=rows,
        marks=lambda panel: scatter.points(panel, COST, palette, recipes),
        blocks=[Block([panel], across=1) for panel in panels],
        title=unbeaten(rows),
        subtitle=[],
        said=said(cells(rows), unbeaten, lambda part: [f"{basis(part).capitalize()}."]),
        columns=ARM
        | told("text", recipe="Recipe")
        | measured("Recall")
        | {"Rise": ("rise", "nats"), "95% interval of the rise": ("rise_low rise_high", "nats")},
        **scatter.BESIDE_NAMES,
        titles=scatter.TITLES,
    )


def joined(tables: Tables) -> pd.DataFrame:
    """Recall of the facts taught and the rise of the loss, by arm and checkpoint.

    ``best`` are arms on the certified base that no other one of these beats: on a base whose weights are at random,
    any teaching may lower the loss.
    """
    recall = tables.retention.query("metric == 'recall' and probe == 'taught' and domain == 'all'")
    recall = recall[["arm", "sessions", "n_seeds", "n_facts", "value", "ci_low", "ci_high"]]
    base_loss = tables.base_loss[["arm", "sessions", "rise", "ci_low", "ci_high"]]
    base_loss = base_loss.rename(columns={"ci_low": "rise_low", "ci_high": "rise_high"})
    rows = recall.merge(base_loss, on=["arm", "sessions"]).merge(tables.arms[["arm", "recipe", "reinit"]], on="arm")
    rows = rows.sort_values("sessions", kind="stable").reset_index(drop=True).assign(best=0)
    for _, part in rows[rows["reinit"] == ""].groupby("sessions"):
        value, rise = part["value"].to_numpy(), part["rise"].to_numpy()
        no_worse = (value[:, None] >= value) & (rise[:, None] <= rise)  # (who, whom)
        better = (value[:, None] > value) | (rise[:, None] < rise)
        rows.loc[part.index, "best"] = (~(no_worse & better).any(axis=0)).astype(int)
    return rows


def unbeaten(rows: pd.DataFrame) -> list[str]:
    """The arms that none beats in both recall and the rise in base loss at the last checkpoint, gentlest first."""
    ended = last(rows)
    best = ended[ended["best"] == 1].sort_values("rise", kind="stable")
    arms = listed(f"{row['arm']} ({row['value']:.1%}, {row['rise']:+.2f})" for row in best.to_dict("records"))
    return [f"No arm recalls more for less rise in base loss, {after(rows['sessions'].max())}: {arms}"]


if __name__ == "__main__":
    picture.step(__doc__, charts)
