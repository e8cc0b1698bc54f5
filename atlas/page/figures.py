"""Parts of the page that are HTML: figures in tables, and the ledger in words. The script hides what is not chosen."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from atlas.charts.findings import percent
from atlas.charts.study_tables import Tables
from atlas.page import prose
from atlas.phrases import plural

COLUMNS = {
    "Recall": ("taught", "recall"),
    "Ranked": ("taught", "ranked"),
    "Recognition": ("taught", "recognition"),
    "Recognition, never taught": ("placebo", "recognition"),
    "Recognition, net": ("taught", "recognition_net"),
    "Recall, rephrased": ("rephrase", "recall"),
}
"""Heading of a column to the probe and metric that it shows."""


def table(heading: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], texts: int = 1) -> str:
    """An HTML table that scrolls by itself; each row comes with its arm, and the first ``texts`` columns hold words.

    Cells are HTML already.
    """
    kinds = [' class="text"'] * texts + [""] * (len(heading) - texts)
    head = "".join(f'<th{kind} scope="col">{name}</th>' for kind, name in zip(kinds, heading, strict=True))
    body = "\n".join(
        f'<tr data-arm="{arm}">' + "".join(f"<td{k}>{c}</td>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"
        for arm, cells in rows
    )
    wide = '<div class="wide" tabindex="0" role="region" aria-label="Table">'
    return f"{wide}<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"


def arms_table(tables: Tables) -> str:
    """Every arm with its targets, ranks and parameters."""
    rows = [
        (
            arm["arm"],
            [
                arm["arm"],
                arm["method"],
                arm["targets"].replace(",", ", "),
                arm["ranks"].replace(",", ", "),
                arm["reinit"].replace(",", ", ") or "none",
                arm["recipe"],
                f"{arm['trainable_params']:,}",
                f"{arm['share']:.1%}",
            ],
        )
        for arm in tables.arms.to_dict("records")
    ]
    heading = ("Arm", "Method", "Targets", "Ranks", "Base left at random", "Recipe", "Parameters", "Share")
    return table(heading, rows, texts=6)


def retention_tables(tables: Tables) -> str:
    """The figures of every checkpoint, to be opened."""
    rows = tables.retention.query("domain == 'all'")
    parts = [retention_table(part, tables.arms) for _, part in rows.groupby("sessions")]
    return f"<details><summary>All metrics as figures</summary>\n{''.join(parts)}</details>"


def retention_table(rows: pd.DataFrame, arms: pd.DataFrame) -> str:
    """The figures of one checkpoint, an arm a row."""
    sessions, facts = rows["sessions"].iloc[0], rows.loc[rows["probe"] == "taught", "n_facts"].max()
    cells = {(row["arm"], row["probe"], row["metric"]): row for row in rows.to_dict("records")}
    lines = [
        (
            arm["arm"],
            [
                arm["arm"],
                f"{arm['trainable_params']:,}<small>{arm['share']:.1%}</small>",
                *(cell(cells.get((arm["arm"], *key))) for key in COLUMNS.values()),
            ],
        )
        for arm in arms.to_dict("records")
    ]
    listed = table(["Arm", "Parameters", *COLUMNS], lines)
    return f'<div data-sessions="{sessions}"><h3>After {sessions} sessions, {facts} facts</h3>\n{listed}</div>'


BASELINES = {
    "Efficacy": ("efficacy", ".1%"),
    "Paraphrase": ("paraphrase", ".1%"),
    "Specificity": ("specificity", ".1%"),
    "Score": ("edit_score", ".1%"),
    "Rise of the base's loss": ("rise", "+.3f"),
    "Update, in lengths of the base": ("update_size", ".3f"),
    "Growth of the norm": ("norm_growth", "+.1%"),
    "Core-seconds a fact": ("edit_seconds", ".2f"),
}
"""Heading of a column to the metric that it shows, and how its figures are written."""


def baselines_tables(tables: Tables) -> str:
    """The metrics of the literature on editing, arm by arm, at every checkpoint."""
    rows = tables.baselines
    points = sorted(set(rows.loc[rows["metric"] != "efficacy", "sessions"]))
    return "\n".join(baselines_table(rows[rows["sessions"] == sessions]) for sessions in points)


def baselines_table(rows: pd.DataFrame) -> str:
    """The figures of one checkpoint, an arm a row."""
    cells = {(row["arm"], row["metric"]): row for row in rows.to_dict("records")}
    methods = dict(zip(rows["arm"], rows["method"], strict=True))
    lines = [
        (arm, [arm, method, *(figure(cells.get((arm, name)), form) for name, form in BASELINES.values())])
        for arm, method in methods.items()
    ]
    sessions, edits = rows["sessions"].iloc[0], rows["edits"].iloc[0]
    listed = table(["Arm", "Method", *BASELINES], lines, texts=2)
    heading = f"After {plural(int(edits), 'fact')}"
    return f'<div data-sessions="{sessions}"><h3>{heading}, {plural(int(sessions), "session")}</h3>\n{listed}</div>'


def figure(row: Mapping[Any, Any] | None, form: str) -> str:
    """A figure with its interval, written by a format, as the content of a cell."""
    if row is None or pd.isna(row["value"]):
        return ""
    low, high = row["ci_low"], row["ci_high"]
    interval = "" if pd.isna(low) else f"<small>{low:{form}} to {high:{form}}</small>"
    return f"{row['value']:{form}}{interval}"


def cell(row: Mapping[Any, Any] | None) -> str:
    """A share with its interval, as the content of a cell."""
    if row is None:
        return ""
    low, high = row["ci_low"], row["ci_high"]
    interval = "" if pd.isna(low) else f"<small>{percent(low)} to {percent(high)}</small>"
    return f"{row['value']:.1%}{interval}"


def in_words(tables: Tables) -> str:
    """The ledger in words, one part to open for each of its sections."""
    claims = tables.claims
    text = MarkdownIt("zero", {"html": False}).enable(["emphasis", "list"])
    parts = [f"<p>{html.escape(prose.summary(claims))}</p>"]
    found = prose.sections(claims)
    for heading, meaning in prose.SECTIONS.items():
        if entries := found.get(heading):
            items = text.render("\n".join(entries))
            title = f"{heading}: {plural(len(entries), 'claim')}"
            parts.append(f'<details><summary>{title}</summary>\n<p class="note">{meaning}</p>\n{items}</details>')
    return "\n".join(parts)
