"""What the page says of a study on a language model from outside: by kind of fact, and which place wins there."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd

from atlas.charts.findings import after, percent
from atlas.charts.knowledge import ASKED, headline
from atlas.charts.study_tables import Tables
from atlas.page.figures import cell, table
from atlas.phrases import plural
from atlas.tables.knowledge import UNTOUCHED

MORE = {"a > b": "more", "b > a": "less"}


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
    """The planned comparisons by recall of the facts taught, as taught and in other words, then by what is left of
    known facts that were never touched, a sentence each; nothing where the study plans none."""
    return "\n".join(
        f"<h3>{heading}</h3>\n<ul>\n{_items(sentences)}\n</ul>" for heading, sentences in comparisons(tables)
    )


def _items(sentences: list[str]) -> str:
    return "\n".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)


def comparisons(tables: Tables) -> list[tuple[str, list[str]]]:
    """Headings, and below each the planned comparisons after the last session in words; none where none are planned."""
    if not tables.has("contrasts"):
        return []
    recalled = tables.contrasts.query("metric == 'recall' and domain == 'all'")
    known = tables.knowledge_contrasts.query("metric == 'answered'")
    untouched = known[known["kind"] == UNTOUCHED]
    found = [
        ("Which place wins here", _sentences(recalled[recalled["probe"] == "taught"], "recalls")),
        ("And asked in other words", _sentences(recalled[recalled["probe"] == "rephrase"], "recalls")),
        ("Which place leaves more of what the model knew", _sentences(untouched, "leaves")),
    ]
    return [(heading, sentences) for heading, sentences in found if sentences]


def _sentences(rows: pd.DataFrame, verb: str) -> list[str]:
    last = rows[rows["sessions"] == rows["sessions"].max()]
    return [_sentence(row, verb) for row in last.to_dict("records")]


def _sentence(row: dict[Any, Any], verb: str) -> str:
    """One comparison in words, with what the sample cannot tell."""
    basis = f"{after(row['sessions'])}, {plural(int(row['n_seeds']), 'seed')}"
    figures = f"{percent(row['value_a'])} against {percent(row['value_b'])}"
    interval = (
        "" if pd.isna(row["ci_low"]) else f" (95% interval {100 * row['ci_low']:+.1f} to {100 * row['ci_high']:+.1f})"
    )
    difference = f"{figures}, a difference of {100 * row['diff']:+.1f} points{interval}; {basis}"
    if row["verdict"] in MORE:
        return f"{row['arm_a']} {verb} {MORE[row['verdict']]} than {row['arm_b']}: {difference}."
    return f"{row['arm_a']} and {row['arm_b']}: unresolved ({row['reason']}). {difference}."
