"""What the page says of a study on a language model from outside: by kind of fact, and which place wins there."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd

from atlas.charts.figures import cell, table
from atlas.charts.knowledge import ASKED, headline
from atlas.charts.tables import Tables
from atlas.charts.words import percent, plural

WORDS = {"a > b": "recalls more than", "b > a": "recalls less than"}


def kinds(tables: Tables) -> str:
    """Known and unknown facts, arm by arm, at every checkpoint."""
    rows = headline(tables.knowledge)
    points = sorted(set(rows["sessions"]))
    return "\n".join(_kinds(rows[rows["sessions"] == sessions], tables.names) for sessions in points)


def _kinds(rows: pd.DataFrame, arms: list[str]) -> str:
    found = {(row["arm"], row["kind"]): row for row in rows.to_dict("records")}
    there = [kind for kind in ASKED if kind in set(rows["kind"])]
    lines = [(arm, [arm, *(cell(found.get((arm, kind))) for kind in there)]) for arm in arms]
    sessions = int(rows["sessions"].iloc[0])
    heading = [f"{ASKED[kind][1].capitalize()}" for kind in there]
    return (
        f'<div data-sessions="{sessions}"><h3>After {plural(sessions, "session")}</h3>\n'
        f"{table(['Arm', *heading], lines)}</div>"
    )


def placements(tables: Tables) -> str:
    """The planned comparisons by recall of the facts taught, a sentence each; nothing where the study plans none."""
    if not tables.has("contrasts"):
        return ""
    rows = tables.contrasts
    asked = (rows["metric"] == "recall") & (rows["probe"] == "taught") & (rows["domain"] == "all")
    last = rows[asked & (rows["sessions"] == rows["sessions"].max())]
    said = "\n".join(f"<li>{html.escape(_sentence(row))}</li>" for row in last.to_dict("records"))
    return f"<h3>Which place wins here</h3>\n<ul>\n{said}\n</ul>" if said else ""


def _sentence(row: dict[Any, Any]) -> str:
    """One comparison in words, with what the sample cannot tell."""
    after = f"after {plural(int(row['sessions']), 'session')}, {plural(int(row['n_seeds']), 'seed')}"
    figures = f"{percent(row['value_a'])} against {percent(row['value_b'])}"
    interval = (
        "" if pd.isna(row["ci_low"]) else f" (95% interval {100 * row['ci_low']:+.1f} to {100 * row['ci_high']:+.1f})"
    )
    difference = f"{figures}, a difference of {100 * row['diff']:+.1f} points{interval}; {after}"
    if row["verdict"] in WORDS:
        return f"{row['arm_a']} {WORDS[row['verdict']]} {row['arm_b']}: {difference}."
    return f"{row['arm_a']} and {row['arm_b']}: unresolved. {difference[0].upper()}{difference[1:]}."
