"""Chart of the ablations: what the parts of the recipe are worth, beside the arm with the whole recipe."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from atlas.charts import picture
from atlas.charts.findings import ESSAYS, HEADLINE, after, last, percent, placebo_warning
from atlas.charts.frame import Block, Chart, by_checkpoint, cells, said
from atlas.charts.retention import (
    COLUMNS,
    PAGE_HEIGHT,
    Look,
    dots,
    dressed,
    height_of,
    rests_on,
    series_of,
    width_of,
)
from atlas.charts.study_tables import Tables
from atlas.charts.theme import colours
from atlas.metrics import REGISTRY


def charts(tables: Tables) -> Iterator[Chart]:
    """One row of panels a metric and reference arm, one column a checkpoint; recipes from top to bottom.

    On the page a recipe goes with the arm that it varies.
    """
    rows = dressed(tables.ablations.query("domain == 'all'")).drop(columns=["contract", "alternatives", "domain"])
    rows["variant"] = rows["variant"].str.replace("_", " ")
    pictured = rows[rows["metric"].isin([HEADLINE, ESSAYS])]
    yield Chart(
        name="ablations",
        rows=rows,
        marks=lambda panel: dots(panel, look(panel.rows, "arm" if panel.live else "variant", tables.names)),
        blocks=[
            Block(by_checkpoint(part), f"{reference} · {REGISTRY[metric].title}")
            for metric in (HEADLINE, ESSAYS)
            for reference, part in pictured[pictured["metric"] == metric].groupby("reference", sort=False)
        ],
        title=finding(pictured[pictured["metric"] == HEADLINE]),
        subtitle=[in_picture(pictured), *rests_on(pictured)],
        said=said(cells(rows), finding, rests_on),
        columns=COLUMNS,
        width=width_of(rows),
        height=height_of(rows),
        page_height=PAGE_HEIGHT,
        spacing=26,
        arms=("reference",),
    )


def look(rows: pd.DataFrame, y: str, arms: list[str]) -> Look:
    """Recipes from top to bottom, each in the colour of the arm that it varies."""
    return Look(y, list(dict.fromkeys(rows[y])), colours(arms), series_of(rows), hue="reference")


def finding(rows: pd.DataFrame) -> list[str]:
    """For each reference one metric after the last checkpoint with the whole recipe, and with the worst and the best of
    its variants."""
    taught = last(rows[rows["probe"] == "taught"])
    return [_compared(part) for _, part in taught.groupby("reference", sort=False)]


def _compared(rows: pd.DataFrame) -> str:
    whole = rows[rows["arm"] == rows["reference"]].iloc[0]
    others = rows[rows["arm"] != rows["reference"]].sort_values("value", kind="stable")
    ends = others.iloc[[0, -1]] if len(others) > 1 else others
    scores = [f"{percent(row['value'])} {row['variant']}" for row in ends.to_dict("records")]
    label = REGISTRY[whole["metric"]].label
    return ", ".join([f"{label} of {whole['arm']}: {percent(whole['value'])} with the whole recipe", *scores])


def in_picture(rows: pd.DataFrame) -> str:
    """Where the figures of the picture's title come from, and what recognition is worth."""
    placebo = last(rows[(rows["probe"] == "placebo") & (rows["metric"] == ESSAYS)])
    return f"Recall of taught facts {after(rows['sessions'].max())}. {placebo_warning(placebo)}."


if __name__ == "__main__":
    picture.step(__doc__, charts)
