"""Chart of the guard: each damaged checkpoint by what it costs, coloured by the evidence that gives it away."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from atlas.audit.audit_columns import HONEST_LEVELS
from atlas.audit.detection_rates import FELT, NOTHING, changed, felt, least_evidence, seen
from atlas.charts import picture
from atlas.charts.frame import Block, Chart, Panel, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import INK, PLACEBO, SOFT

LEAST, MOST, UNREAD = 1e-4, 10.0, 100.0  # ends of the axis of losses, and where files stand that do not load
EVIDENCE = {
    "file": "the file alone",
    "text": "a text, too",
    "model": "the model in memory against its file",
    "manifest": "the manifest only",
    NOTHING: NOTHING,
}
COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#d55e00", PLACEBO)


def charts(tables: Tables) -> Iterator[Chart]:
    """One row a kind of damage, grouped by family."""
    rows = tables.detection
    shown = rows.assign(
        evidence=least_evidence(rows).map(EVIDENCE),
        place=rows["rise"].clip(LEAST, MOST).where(rows["loads"], UNREAD),
    )
    yield Chart(
        name="detection",
        rows=shown,
        marks=dots,
        blocks=[Block([(str(family), part) for family, part in shown.groupby("family", sort=False)], across=1)],
        title=finding(rows),
        subtitle=rests_on(rows, tables.false_alarms),
        columns=told("text", subject="Checkpoint", kind="Damage", module="Module")
        | told("nats", rise="Rise")
        | told("text", evidence="Given away by", failed_text="Failed checks"),
        width=420,
        height=alt.Step(17),
        gap=4,
        titles={"anchor": "start", "frame": "group", "offset": 2},
    )


def dots(panel: Panel) -> alt.LayerChart:
    """A dot a checkpoint, and a line where damage begins to be felt."""
    labels = alt.Axis(
        values=[LEAST, 1e-3, 1e-2, 0.1, 1, MOST, UNREAD],
        labels=panel.lowest,
        labelExpr=f"datum.value == {UNREAD} ? 'does not load' : datum.value == {LEAST} ? 'none' : datum.value",
        title="rise of the validation loss, nats per character" if panel.lowest else None,
        ticks=panel.lowest,
        domain=panel.lowest,
    )
    scale = alt.Scale(type="log", domain=[LEAST, UNREAD * 2], nice=False)
    hues = alt.Scale(domain=list(EVIDENCE.values()), range=list(COLOURS))
    names = alt.Axis(title=None, labelLimit=320, minExtent=250)
    points = panel.data.mark_point(filled=True, size=48, opacity=0.75).encode(
        x=alt.X("place:Q", scale=scale, axis=labels),
        y=alt.Y("kind:N", sort=list(dict.fromkeys(panel.rows["kind"])), axis=names),
        color=alt.Color("evidence:N", scale=hues, legend=panel.legend(title="given away by", labelColor=INK)),
        tooltip=panel.tips,
    )
    return alt.layer(panel.data.mark_rule(color=SOFT, strokeDash=[3, 3]).encode(x=alt.X(datum=FELT)), points)


def finding(rows: pd.DataFrame) -> list[str]:
    """What is seen of the damage that matters, without a manifest, and with one of all that changes the function."""
    costly = rows[felt(rows)]
    return [
        f"Refused by a text or in memory: {seen(costly, 'model')} whose damage is felt;",
        f"with a manifest: {seen(rows[changed(rows)], 'manifest')} that compute anything else",
    ]


def rests_on(rows: pd.DataFrame, honest: pd.DataFrame) -> list[str]:
    """How much it rests on, what felt means, and the false alarms with their interval."""
    alarms = {level: seen(honest, level) for level in HONEST_LEVELS}
    high = alarms["text"].interval[1]
    return [
        f"{len(rows)} damaged checkpoints of {rows['kind'].nunique()} kinds. Felt: the file does not load, or the loss "
        f"rises by over {FELT} nats (dashed), and the weights are not honest in themselves.",
        f"False alarms on honest checkpoints: {alarms['text']} without a manifest (95% interval up to {high:.1%}), "
        f"{alarms['manifest']} with one.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
