"""Chart of the causal trace: how much of an answer comes back when one state of the model is restored, and where."""

from __future__ import annotations

import altair as alt
import pandas as pd

from atlas.charts.output import single_chart
from atlas.charts.tables import Tables
from atlas.charts.theme import BLUE, PAPER, RED, SOFT, WIDTH, title
from atlas.charts.words import percent, plural
from atlas.ttt.editors.trace_columns import KINDS, POSITIONS
from atlas.workflow.steps import run_step

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
UNKNOWN = "The base knows no associations of its corpus: nothing to trace"


def draw(tables: Tables) -> alt.TopLevelMixin:
    """One panel a kind of state, layers to the right, positions downwards; a cell says the effect."""
    rows = tables.trace
    if rows.empty:
        return (
            alt.Chart(pd.DataFrame({"said": ["no cases"]}))
            .mark_text(color=SOFT)
            .encode(text="said:N")
            .properties(width=WIDTH, height=60, title=title(UNKNOWN, ["A base that is trained for longer knows some."]))
        )
    shown = rows.assign(place=rows["position"].map(PLACES))
    most = max(0.01, float(shown["effect"].abs().max()))
    deep = shown["layer"].nunique() > WRITTEN
    width = WIDTH - NAMES if deep else (WIDTH - NAMES) / len(KINDS)
    panels = [
        panel(shown[shown["kind"] == kind], kind, most, width, named=deep or at == 0) for at, kind in enumerate(KINDS)
    ]
    joined = alt.vconcat(*panels, spacing=14) if deep else alt.hconcat(*panels, spacing=14)
    return joined.properties(title=title(finding(shown, tables.trace_window), subtitle(shown, tables.trace_window)))


def panel(rows: pd.DataFrame, kind: str, most: float, width: float, named: bool) -> alt.LayerChart:
    """One kind of state, its positions named or as those beside it. Of many layers colours alone say the effects."""
    deep = rows["layer"].nunique() > WRITTEN
    places = [PLACES[name] for name in POSITIONS if PLACES[name] in set(rows["place"])]
    axis = alt.Axis(title=None, labelLimit=NAMES) if named else None
    base = alt.Chart(rows).encode(
        x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=8)),
        y=alt.Y("place:N", sort=places, axis=axis),
    )
    scale = alt.Scale(domain=[-most, 0, most], range=[RED, PAPER, BLUE], interpolate="rgb")
    legend = alt.Legend(title=None, format=".2f", gradientLength=80) if deep else None
    cells = base.mark_rect().encode(color=alt.Color("effect:Q", scale=scale, legend=legend), tooltip=_tooltip())
    # by name, not of the theme: cells are as light on a dark page
    bright = alt.condition(f"abs(datum.effect) > {0.55 * most}", alt.value("white"), alt.value("black"))
    texts = base.mark_text(fontSize=11).encode(text=alt.Text("effect:Q", format=".2f"), color=bright)
    heading = alt.TitleParams(PANELS[kind], fontSize=12, offset=6)
    layers = alt.layer(cells) if deep else alt.layer(cells, texts)
    height = ROW_HEIGHT * len(places) * (0.7 if deep else 1)
    return layers.properties(width=width, height=height, title=heading)


def _tooltip() -> list[alt.Tooltip]:
    figures = {"effect": "effect", "ci_low": "95% interval from", "ci_high": "to"}
    return [
        *(alt.Tooltip(f"{name}:N") for name in ("place", "layer")),
        *(alt.Tooltip(f"{name}:Q", title=said, format=".3f") for name, said in figures.items()),
        alt.Tooltip("n:Q", title="texts"),
    ]


def finding(rows: pd.DataFrame, window: int) -> str:
    """The feed-forward part that brings most of the answer back, or the ``window`` of them, and where."""
    best = rows[rows["kind"] == "mlp"].sort_values("effect", kind="stable").iloc[-1]
    first, last = max(0, best["layer"] - (window - 1) // 2), min(rows["layer"].max(), best["layer"] + window // 2)
    what, layers = (
        ("one feed-forward part", f"layer {best['layer']}")
        if window == 1
        else (f"{last - first + 1} feed-forward parts", f"layers {first} to {last}")
    )
    return (
        f"Restoring {what} brings back at most {best['effect']:.2f} of the answer's probability: "
        f"{layers}, {best['place']}"
    )


def subtitle(rows: pd.DataFrame, window: int) -> list[str]:
    """Texts, probabilities without and with noise, and how to read a cell."""
    whole = rows.sort_values("n", kind="stable").iloc[-1]
    together = f"; parts of {window} layers are put back together, around the one named" if window > 1 else ""
    return [
        f"{plural(int(whole['n']), 'text')} that the base completes by itself: probability of the answer "
        f"{percent(whole['probability'])}, or {percent(whole['corrupted'])} with the subject drowned in noise.",
        "A cell is what comes back of it, on average, when that state alone is as it was without noise; places "
        f"in the text downwards, layers from 0 to the right{together}.",
    ]


def main() -> None:
    """Draw the chart from the trace, ``--tables results/ttt``."""
    single_chart(__doc__, draw)


if __name__ == "__main__":
    run_step(main)
