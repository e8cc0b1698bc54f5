"""Two tables of the page: the measures of continual learning by arm, and the control that was never trained."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from atlas.charts.words import percent

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


def continual_table(continual: pd.DataFrame, metric: str = "recall") -> str:
    """The measures of one metric, an arm a row, a measure a column; those that no arm has are left out."""
    rows = continual[continual["metric"] == metric]
    ages = [None if pd.isna(age) else int(age) for age in rows["age_from"]]
    keys = zip(rows["arm"], rows["measure"], ages, strict=True)
    cells = dict(zip(keys, rows.to_dict("records"), strict=True))
    shown = {name: key for name, key in MEASURES.items() if any((arm, *key) in cells for arm in rows["arm"])}
    head = "".join(f'<th scope="col">{text}</th>' for text in ("Arm", *shown))
    body = "".join(
        f"<tr><td>{arm}</td>" + "".join(_cell(cells.get((arm, *key))) for key in shown.values()) + "</tr>"
        for arm in dict.fromkeys(rows["arm"])
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return "<td></td>"
    if row["unit"] == "sessions":
        return f"<td>{_sessions(row)}</td>"
    low, high = row["ci_low"], row["ci_high"]
    interval = "" if pd.isna(low) else f"<small>{percent(low)} to {percent(high)}</small>"
    return f"<td>{row['value']:.1%}{interval}</td>"


def _sessions(row: Mapping[Any, Any]) -> str:
    if row["censored"]:
        return "beyond the run"
    return "" if pd.isna(row["value"]) else f"{row['value']:.0f}"


def controls_list(controls: pd.DataFrame) -> str:
    """Whether an untrained adapter scores chance, in words; empty where the study has no such arm."""
    if controls.empty:
        return ""
    off = controls[controls["verdict"] != "at chance"]
    summary = f"{len(controls) - len(off)} of {len(controls)} scores of an adapter that was never trained are at chance"
    listed = "".join(f"<li>{html.escape(finding)}</li>" for finding in [*off["finding"], *_rest(controls)])
    return f"<details><summary>{summary}</summary>\n<ul>{listed}</ul></details>"


def _rest(controls: pd.DataFrame) -> list[str]:
    return list(controls.loc[controls["verdict"] == "at chance", "finding"])
