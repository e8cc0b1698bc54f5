"""Chart of the map: what each place keeps at each budget of parameters, and what a thousand parameters keep there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import altair as alt
import pandas as pd

from atlas.charts import layer_role, picture, scatter
from atlas.charts.findings import after, interval, last, percent, seeds
from atlas.charts.frame import Block, Chart, Panel, measured, told, vertical
from atlas.charts.layer_role import ALL
from atlas.charts.study_tables import Tables
from atlas.charts.theme import BLUE, RED, WIDTH, colours, hue
from atlas.phrases import plural

MEASURES = {
    ("recall", "taught"): "Recall, %",
    ("recall", "rephrase"): "Recall by held-out paraphrases, %",
    ("rise", ""): "Rise in base loss, nats a token",
}
NAMED = {"slot": "{role} of layer {layer}", "role": "{role}", "layer": "layer {layer}"}
UNITS = {"slot": "one role in one layer", "role": "one role in all layers", "layer": "all roles of one layer"}
NAMES, GAP = 44, 14  # pixels left of the heatmaps, and between two
HEIGHT = 200  # of the lines
NOT_APPLICABLE = "n/a"


def charts(tables: Tables) -> Iterator[Chart]:
    """A row of heatmaps for each measure, one a budget; below them recall for each thousand parameters."""
    rows = shown(tables.map)
    roles, layers = (layer_role.with_margin(list(dict.fromkeys(rows[name]))) for name in ("role", "layer"))
    budgets = [(plural(int(budget), "parameter"), budget) for budget in sorted(set(rows["budget"]))]
    for measure, heading in MEASURES.items():
        part = rows[(rows["metric"] == measure[0]) & (rows["probe"] == measure[1])]
        if part.empty:
            continue  # facts without paraphrases
        colour = RED if measure[0] == "rise" else BLUE
        yield Chart(
            name="map",
            rows=part,
            marks=partial(layer_role.heatmap, roles=roles, layers=layers, colour=colour),
            blocks=[Block([(name, part[part["budget"] == budget]) for name, budget in budgets], heading, len(budgets))],
            title=finding(rows),
            subtitle=rests_on(rows),
            columns=told("text", place="Place")
            | told("count", trainable_params="Parameters")
            | measured(kind="nats" if measure[0] == "rise" else "share"),
            width=(WIDTH - NAMES) / len(budgets) - GAP,
            height=layer_role.CELL * len(roles),
            gap=GAP,
            titles_once=True,
        )
    recall = recalled(rows)
    units = [(said, recall[recall["part"] == unit]) for unit, said in UNITS.items()]
    if several := [(said, part) for said, part in units if part["budget"].nunique() > 1]:
        drawn = pd.concat([part for _, part in several])
        yield Chart(
            name="map",
            rows=drawn,
            marks=lambda panel: lines(panel, colours(list(dict.fromkeys(panel.rows["of"]))), drawn),
            blocks=[Block(several, "Recall for each thousand parameters", len(several))],
            title=[],
            subtitle=[],
            columns=told("text", place="Place")
            | told("count", trainable_params="Parameters")
            | told("share", per_thousand="Recall for each thousand"),
            width=(WIDTH - NAMES) / len(several) - GAP,
            height=HEIGHT,
            gap=GAP,
        )


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last checkpoint, with names of places, what is written into a cell and how deep that is."""
    rows = last(table).assign(probe=lambda found: found["probe"].fillna(""))
    role, layer = rows["role"].fillna(ALL), rows["layer"].astype("Int64").astype("string").fillna(ALL)
    shares = rows["metric"] != "rise"
    figures = rows["value"].map(lambda value: f"{100 * value:.0f}").where(shares, rows["value"].map("{:.2f}".format))
    top = rows.groupby(["metric", "probe"])["value"].transform("max").clip(lower=0.01).where(~shares, 1.0)
    thousands = rows["trainable_params"] / 1000
    return rows.assign(
        role=role,
        layer=layer,
        of=role.where(role != ALL, "layer " + layer.astype(str)),
        place=[NAMED[unit].format(role=one, layer=at) for unit, one, at in zip(rows["part"], role, layer, strict=True)],
        said=figures.where(rows["applicable"], NOT_APPLICABLE),
        depth=rows["value"] / top,
        per_thousand_low=rows["ci_low"] / thousands,
        per_thousand_high=rows["ci_high"] / thousands,
    )


def recalled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of recall of facts as taught, of places that can have their budget."""
    return rows[(rows["metric"] == "recall") & (rows["probe"] == "taught") & rows["applicable"]]


def lines(panel: Panel, palette: Mapping[str, str], drawn: pd.DataFrame) -> alt.LayerChart:
    """One kind of place: a line a place over what it spent, with intervals; it is named where it begins. All panels,
    whose rows are ``drawn``, share their scales."""
    top, spent = 1.05 * float(drawn["per_thousand_high"].max()), drawn["trainable_params"]
    reach = alt.Scale(type="log", nice=False, domain=[float(spent.min()) / 2.2, float(spent.max()) * 1.1])
    axis = alt.Axis(format="~s", values=sorted(set(drawn["budget"])))
    x = alt.X("trainable_params:Q", title="parameters", scale=reach, axis=axis)
    shares = alt.Axis(format=".0%", title=None, tickCount=5, labels=panel.first)
    y = vertical(shares, alt.Scale(domain=[0, top], nice=False))
    first = panel.rows[panel.rows["budget"] == panel.rows["budget"].min()].sort_values("per_thousand", ascending=False)
    first = first.drop_duplicates("of")
    pixels = (1 - first["per_thousand"].to_numpy(float) / top) * HEIGHT
    named = first.assign(at=scatter.spread(pixels, scatter.GAP, HEIGHT))
    base = panel.data.encode(x=x, color=hue(palette, "of"), detail="place:N")
    return alt.layer(
        base.mark_rule(strokeWidth=1, opacity=0.5).encode(y=y("per_thousand_low"), y2="per_thousand_high:Q"),
        base.mark_line(strokeWidth=1.5).encode(y=y("per_thousand")),
        base.mark_point(filled=True, size=35, opacity=1).encode(y=y("per_thousand"), tooltip=panel.tips),
        alt.Chart(named)
        .mark_text(align="right", dx=-7, fontSize=11)
        .encode(x=x, y=alt.Y("at:Q", axis=None, scale=None), text="of:N", color=hue(palette, "of")),
    )


def finding(rows: pd.DataFrame) -> list[str]:
    """Where most is recalled and where least, by each kind of place, at the budget that most of its places can have."""
    said = []
    for unit, part in recalled(rows).groupby("part", sort=False):
        budget = part.groupby("budget").size()[::-1].idxmax()
        ordered = part[part["budget"] == budget].sort_values("value", kind="stable")
        (low, high), (least, most) = ordered["value"].iloc[[0, -1]].map(percent), ordered["place"].iloc[[0, -1]]
        where = f"from {low} ({least}) to {high} ({most})" if low != high else f"{low} everywhere"
        said.append(f"{UNITS[str(unit)].capitalize()}, {budget:,} parameters: recall {where}")
    return said


def rests_on(rows: pd.DataFrame) -> list[str]:
    """Facts, seeds, and how to read the cells."""
    recall = recalled(rows)
    facts = plural(int(recall["n_facts"].max()), "fact")
    lines = [
        f"{facts} {after(recall['sessions'].iloc[0])}; {seeds(recall)}, and cells are means over them; "
        f"{interval(recall)}. A budget is what ranks come nearest to.",
        "Behind the gap: the role in all layers, or all roles of the layer, at the same number of parameters.",
    ]
    if not rows["applicable"].all():
        lines.append(f"{NOT_APPLICABLE}: not applicable, since the place's matrices cannot have so many parameters.")
    return lines


if __name__ == "__main__":
    picture.step(__doc__, charts)
