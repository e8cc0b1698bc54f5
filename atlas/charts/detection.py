"""Chart of the guard: each damaged checkpoint by what it costs, coloured by the evidence that gives it away."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.audit.audit_columns import LEVELS
from atlas.audit.detection_rates import FELT, NOTHING, changed, felt, least_evidence, seen
from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import INK, PLACEBO, SOFT, title
from atlas.workflow.steps import run_step

WIDTH, ROW_HEIGHT = 420, 17
LEAST, MOST, UNREAD = 1e-4, 10.0, 100.0  # ends of the axis of losses, and where files stand that do not load
EVIDENCE = {"file": "the file alone", "text": "a text, too", "manifest": "the manifest only", NOTHING: NOTHING}
COLOURS = ("#0072b2", "#009e73", "#d55e00", PLACEBO)


def draw(tables: Tables) -> alt.FacetChart:
    """One row a kind of damage, grouped by family."""
    rows, honest = tables.detection, tables.false_alarms
    shown = rows.assign(
        evidence=least_evidence(rows).map(EVIDENCE),
        place=rows["rise"].clip(LEAST, MOST).where(rows["loads"], UNREAD),
    )
    scale = alt.Scale(type="log", domain=[LEAST, UNREAD * 2], nice=False)
    labels = alt.Axis(
        values=[LEAST, 1e-3, 1e-2, 0.1, 1, MOST, UNREAD],
        labelExpr=f"datum.value == {UNREAD} ? 'does not load' : datum.value == {LEAST} ? 'none' : datum.value",
        title="rise of the validation loss, nats per character",
    )
    y = alt.Y(
        "kind:N", sort=list(dict.fromkeys(rows["kind"])), title=None, axis=alt.Axis(labelLimit=320, minExtent=250)
    )
    dots = (
        alt.Chart(shown)
        .mark_point(filled=True, size=48, opacity=0.75)
        .encode(
            x=alt.X("place:Q", scale=scale, axis=labels),
            y=y,
            color=alt.Color(
                "evidence:N",
                scale=alt.Scale(domain=list(EVIDENCE.values()), range=list(COLOURS)),
                legend=alt.Legend(orient="top", title="given away by", labelColor=INK),
            ),
            tooltip=["subject:N", "kind:N", "module:N", "rise:Q", "evidence:N", "failed_text:N"],
        )
    )
    limit = alt.Chart(shown).mark_rule(color=SOFT, strokeDash=[3, 3]).encode(x=alt.X(datum=FELT))
    panel = alt.layer(limit, dots).properties(width=WIDTH, height=alt.Step(ROW_HEIGHT))
    families = list(dict.fromkeys(rows["family"]))
    header = alt.Header(labelOrient="top", labelAnchor="start", labelPadding=2)
    facets = panel.facet(row=alt.Row("family:N", sort=families, header=header), spacing=4)
    return facets.resolve_scale(y="independent").properties(title=title(finding(rows), subtitle(rows, honest)))


def finding(rows: pd.DataFrame) -> list[str]:
    """What is seen of the damage that matters, without a manifest, and with one of all that changes the function."""
    costly = rows[felt(rows)]
    return [
        f"Refused without a manifest: {seen(costly, 'text')} whose damage is felt;",
        f"with one: {seen(rows[changed(rows)], 'manifest')} that compute anything else",
    ]


def subtitle(rows: pd.DataFrame, honest: pd.DataFrame) -> list[str]:
    """How much it rests on, what felt means, and the false alarms with their interval."""
    alarms = {level: seen(honest, level) for level in LEVELS}
    high = alarms["text"].interval[1]
    return [
        f"{len(rows)} damaged checkpoints of {rows['kind'].nunique()} kinds. Felt: the file does not load, or the loss "
        f"rises by over {FELT} nats (dashed), and the weights are not honest in themselves.",
        f"False alarms on honest checkpoints: {alarms['text']} without a manifest (95% interval up to {high:.1%}), "
        f"{alarms['manifest']} with one.",
    ]


def main() -> None:
    """Draw the chart from the guard's tables, ``--tables results/audit``."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
