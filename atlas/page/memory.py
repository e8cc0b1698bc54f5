"""Two tables of the page: the measures of continual learning by arm, and the control that was never trained."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from atlas.charts.study_tables import Tables
from atlas.metrics import REGISTRY
from atlas.page.figures import cell, table

MEASURES = {
    "Average": ("average", None),
    "When just taught": ("retention", 0),
    "1 to 4 sessions old": ("retention", 1),
    "30 to 99 sessions old": ("retention", 30),
    "Backward transfer": ("backward_transfer", None),
    "Forgetting": ("forgetting", None),
    "Forward transfer": ("forward_transfer", None),
    "Half-life": ("half_life", None),
}
"""Heading of a column to its measure and, for retention, the age from which on."""


READ = (
    "Of facts asked as they were taught, as teaching goes on. <em>Backward transfer</em>: the score after the last "
    "session less the score when just taught. <em>Forgetting</em>: the best score of a session's facts less their "
    "last. <em>Forward transfer</em>: the score just before a fact is taught, less that of the base. "
    "<em>Half-life</em>: sessions until half of what was there when just taught is left."
)
SHOWN_UNDER = {"recall": "recall ranked", "recognition": "recognition recognition_net"}
"""Metric to the choices under which its table is shown: these measures need a score after every session."""


def measures(tables: Tables) -> str:
    """The measures of continual learning, a table for each metric that has them."""
    rows = tables.continual
    parts = [
        f'<div data-metric="{shown}"><h3>{REGISTRY[metric].label} as memory</h3>\n{continual_table(rows, metric)}</div>'
        for metric, shown in SHOWN_UNDER.items()
        if metric in set(rows["metric"])
    ]
    return f"<p>{READ}</p>\n" + "\n".join(parts)


def continual_table(continual: pd.DataFrame, metric: str = "recall") -> str:
    """The measures of one metric, an arm a row, a measure a column; those that no arm has are left out."""
    rows = continual[continual["metric"] == metric]
    ages = [None if pd.isna(age) else int(age) for age in rows["age_from"]]
    keys = zip(rows["arm"], rows["measure"], ages, strict=True)
    cells = dict(zip(keys, rows.to_dict("records"), strict=True))
    shown = {name: key for name, key in MEASURES.items() if any((arm, *key) in cells for arm in rows["arm"])}
    lines = [
        (arm, [arm, *(_cell(cells.get((arm, *key))) for key in shown.values())]) for arm in dict.fromkeys(rows["arm"])
    ]
    return table(["Arm", *shown], lines)


def _cell(row: Mapping[Any, Any] | None) -> str:
    return _sessions(row) if row is not None and row["unit"] == "sessions" else cell(row)


def _sessions(row: Mapping[Any, Any]) -> str:
    if row["censored"]:
        return "beyond the run"
    return "" if pd.isna(row["value"]) else f"{row['value']:.0f}"


def controls(tables: Tables) -> str:
    """Whether an untrained adapter scores chance, in words; empty where the study has no such arm."""
    return controls_list(tables.controls) if tables.has("controls") else ""


def controls_list(controls: pd.DataFrame) -> str:
    """The control in words."""
    if controls.empty:
        return ""
    off = controls[controls["verdict"] != "at chance"]
    summary = f"{len(controls) - len(off)} of {len(controls)} scores of an adapter that was never trained are at chance"
    listed = "".join(f"<li>{html.escape(finding)}</li>" for finding in [*off["finding"], *_rest(controls)])
    return f"<details><summary>{summary}</summary>\n<ul>{listed}</ul></details>"


def _rest(controls: pd.DataFrame) -> list[str]:
    return list(controls.loc[controls["verdict"] == "at chance", "finding"])
