"""Chart of the causal trace: how much of an answer comes back when one state of the model is restored, and where."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import percent
from atlas.charts.frame import Block, Chart, Panel, measured, told
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLUE, PAPER, RED, SOFT, WIDTH
from atlas.phrases import plural
from atlas.ttt.editors.trace_columns import POSITIONS

ROW_HEIGHT = 30
WRITTEN = 8  # layers whose effects fit into the cells as figures
NAMES = 130  # pixels left of the panels, for the positions
PANELS = {"hidden": "the whole state", "mlp": "the feed-forward part", "attention": "the attention part"}
PLACES = {
    "subject_first": "subject, first",
    "subject_middle": "subject, middle",
    "subject_last": "subject, last",
    "subject_after": "behind the subject",
    "further": "further on",
    "prompt_last": "prompt, last",
}


def charts(tables: Tables) -> Iterator[Chart]:
    """One panel a kind of state, layers to the right, positions downwards; a cell says the effect."""
    rows, window = tables.trace, tables.trace_window
    if rows.empty:
        yield nothing()
        return
    shown = rows.assign(place=rows["position"].map(PLACES))
    deep = shown["layer"].nunique() > WRITTEN
    most = max(0.01, float(shown["effect"].abs().max()))
    panels = [(heading, shown[shown["kind"] == kind]) for kind, heading in PANELS.items()]
    yield Chart(
        name="trace",
        rows=shown,
        marks=lambda panel: squares(panel, most, deep),
        blocks=[Block(panels, across=1 if deep else len(panels))],
        title=finding(shown, window),
        subtitle=rests_on(shown, window),
        columns=told("text", place="Place")
        | told("count", layer="Layer")
        | measured("Effect", "effect", "nats")
        | told("count", n="Texts"),
        width=WIDTH - NAMES if deep else (WIDTH - NAMES) / len(panels),
        height=ROW_HEIGHT * shown["place"].nunique() * (0.7 if deep else 1),
        gap=14,
        titles={"offset": 6},
    )


def nothing() -> Chart:
    """What stands there for a base that cannot be traced."""
    rows = pd.DataFrame({"said": ["no cases"]})
    return Chart(
        name="trace",
        rows=rows,
        marks=lambda panel: panel.data.mark_text(color=SOFT).encode(text="said:N"),
        blocks=[Block([("", rows)], across=1)],
        title=["The base knows no associations of its corpus: nothing to trace"],
        subtitle=["A base that is trained for longer knows some."],
        columns={},
        height=60,
    )


def squares(panel: Panel, most: float, deep: bool) -> alt.LayerChart:
    """One kind of state. Of many layers colours alone say the effects."""
    places = [PLACES[name] for name in POSITIONS if PLACES[name] in set(panel.rows["place"])]
    axis = alt.Axis(title=None, labelLimit=NAMES) if panel.first else None
    base = panel.data.encode(
        x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=8)),
        y=alt.Y("place:N", sort=places, axis=axis),
    )
    scale = alt.Scale(domain=[-most, 0, most], range=[RED, PAPER, BLUE], interpolate="rgb")
    legend = alt.Legend(title=None, format=".2f", gradientLength=80) if deep else None
    cells = base.mark_rect().encode(color=alt.Color("effect:Q", scale=scale, legend=legend), tooltip=panel.tips)
    if deep:
        return alt.layer(cells)
    # by name, not of the theme: cells are as light on a dark page
    bright = alt.condition(f"abs(datum.effect) > {0.55 * most}", alt.value("white"), alt.value("black"))
    return alt.layer(cells, base.mark_text(fontSize=11).encode(text=alt.Text("effect:Q", format=".2f"), color=bright))


def finding(rows: pd.DataFrame, window: int) -> list[str]:
    """The feed-forward part that brings most of the answer back, or the ``window`` of them, and where."""
    best = rows[rows["kind"] == "mlp"].sort_values("effect", kind="stable").iloc[-1]
    first, last = max(0, best["layer"] - window // 2), min(rows["layer"].max(), best["layer"] + (window - 1) // 2)
    what, layers = ("one feed-forward part", f"layer {best['layer']}")
    if window > 1:
        what, layers = f"{last - first + 1} feed-forward parts", f"layers {first} to {last}"
    return [
        f"Restoring {what} brings back at most {best['effect']:.2f} of the answer's probability: "
        f"{layers}, {best['place']}"
    ]


def rests_on(rows: pd.DataFrame, window: int) -> list[str]:
    """Texts, probabilities without and with noise, and how to read a cell."""
    whole = rows.sort_values("n", kind="stable").iloc[-1]
    together = f"; parts of {window} layers are put back together, around the one named" if window > 1 else ""
    return [
        f"{plural(int(whole['n']), 'text')} that the base completes by itself: probability of the answer "
        f"{percent(whole['probability'])}, or {percent(whole['corrupted'])} with the subject drowned in noise.",
        "A cell is what comes back of it, on average, when that state alone is as it was without noise; places "
        f"in the text downwards, layers from 0 to the right{together}.",
    ]


if __name__ == "__main__":
    picture.step(__doc__, charts)
