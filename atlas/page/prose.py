"""The ledger in plain words, as Markdown: what holds, what does not, what cannot be told yet. Nothing is typed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.charts.findings import counts, listed, presets, span, with_preset
from atlas.charts.study_tables import Tables
from atlas.metrics import OF_FACTS
from atlas.phrases import plural
from atlas.tables import verdicts
from atlas.tables.verdicts import CONTRADICTED, REPRODUCED, UNRESOLVED
from atlas.workflow import files
from atlas.workflow.progress import say
from atlas.workflow.steps import parser, run_step

SECTIONS = {
    "What holds": "Reproduced under at least one metric and contradicted under none.",
    "What depends on the metric": "Reproduced under one metric, contradicted under another, with the same preset.",
    "What depends on the recipe": "Reproduced with one preset of the recipe, contradicted with another.",
    "What does not hold": "Contradicted under at least one metric and reproduced under none.",
    "What cannot be told yet": "No verdict under any metric: more seeds, or more facts behind the essay's figure.",
    "What this study cannot test": "It lacks what the claim needs, or no such study could tell.",
}
POINTS = {"difference": "points", "slope": "points per tenfold of facts", "spread": "points"}

Row = Mapping[Any, Any]


def page(claims: pd.DataFrame) -> str:
    """The whole page, rules and all."""
    parts = ["# What holds of the essay, and what does not", summary(claims)]
    found = sections(claims)
    for heading, meaning in SECTIONS.items():
        if entries := found.get(heading):
            parts += [f"## {heading}", meaning, "\n".join(entries)]
    rules = (verdicts.__doc__ or "").strip()
    return "\n\n".join([*parts, "## The rules", f"```text\n{rules}\n```"]) + "\n"


def summary(claims: pd.DataFrame) -> str:
    """How many claims each metric reproduces with each preset, and what recognition is worth."""
    first, *others = presets(claims)
    sentences = []
    for preset in (first, *others):
        rows = claims[claims["preset"] == preset]
        if preset in others:
            sentences.append(_reach(rows, preset, claims))
        sentences += [
            f"{metric.capitalize()}{with_preset(preset, claims)}: {counts(rows[rows['metric'] == metric])}."
            for metric in OF_FACTS
        ]
    if len(sizes := claims[claims["metric"] == "params"]):
        sentences.append(f"Sizes of the adapters: {counts(sizes)}.")
    placebo = claims.query("topic == 'retention'")["placebo"].dropna()
    if len(placebo):
        share = span(placebo.min(), placebo.max())
        sentences.append(f"Recognition is to be read beside facts never taught, which pass it in {share} of cases.")
    return " ".join(sentences)


def _reach(rows: pd.DataFrame, preset: str, claims: pd.DataFrame) -> str:
    number, of = rows["claim_id"].nunique(), claims.loc[claims["metric"].isin(OF_FACTS), "claim_id"].nunique()
    return f"The study has arms of preset {preset} for {number} of the {plural(of, 'claim')} on facts."


def sections(claims: pd.DataFrame) -> dict[str, list[str]]:
    """Heading to its entries, one a claim, in the order of the ledger."""
    found: dict[str, list[str]] = {}
    for _, rows in claims.groupby("claim_id", sort=False):
        found.setdefault(section_of(rows), []).append(entry(rows.to_dict("records")))
    return found


def section_of(rows: pd.DataFrame) -> str:
    """The section of a claim, from its verdicts under all presets and metrics."""
    holds, on_metric, on_recipe, fails, open_, untested = SECTIONS
    said = set(rows["verdict"])
    if {REPRODUCED, CONTRADICTED} <= said:
        by_preset = [set(part["verdict"]) for _, part in rows.groupby("preset")]
        return on_metric if any({REPRODUCED, CONTRADICTED} <= one for one in by_preset) else on_recipe
    if REPRODUCED in said:
        return holds
    if CONTRADICTED in said:
        return fails
    return open_ if UNRESOLVED in said else untested


def entry(rows: list[dict[Any, Any]]) -> str:
    """A claim with all its figures, as an item of a list."""
    first = rows[0]
    essay = amount(first["essay_value"], first["essay_ci_low"], first["essay_ci_high"], first["unit"])
    shared = [note for note in _notes(first) if all(note in _notes(row) for row in rows)]
    parts = [f"- **{first['statement']}**", f"Essay: {essay}." if essay else ""]
    if all(math.isnan(row["measured"]) for row in rows):
        parts.append(f"Not tested: {'; '.join(shared)}.")
    else:
        several = len({row["preset"] for row in rows}) > 1
        for preset, of_preset in itertools.groupby(rows, key=lambda row: row["preset"]):
            parts.append(f"*Preset {preset}.*" if several else "")
            parts += [_reading(row, [note for note in _notes(row) if note not in shared]) for row in of_preset]
        parts.append(f"Note: {'; '.join(shared)}." if shared else "")
    return " ".join(filter(None, parts))


def _notes(row: Row) -> list[str]:
    return str(row["note"]).split("; ") if row["note"] else []


def _reading(row: Row, notes: list[str]) -> str:
    name = "measured" if row["metric"] == "params" else row["metric"]
    measured = amount(row["measured"], row["ci_low"], row["ci_high"], row["unit"]) or "not measured"
    remarks = f" ({'; '.join(notes)})" if notes else ""
    return f"{name.capitalize()}: {measured}, {row['verdict']}{remarks}."


def amount(value: float, low: float, high: float, unit: str) -> str:
    """A figure with its interval, in its unit; empty where there is none."""
    if math.isnan(value):
        return ""
    if unit in ("parameters", "multiple"):
        return f"{value:,.0f} parameters" if unit == "parameters" else f"{value:.3g} times"
    if unit == "share":
        return f"{value:.1%}" if math.isnan(low) else f"{value:.1%} ({100 * low:.0f} to {100 * high:.0f})"
    interval = "" if math.isnan(low) else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * value:+.1f} {POINTS[unit]}{interval}"


def labels(claims: pd.DataFrame, verdict: str) -> Iterator[str]:
    """Labels of the claims other than printed figures that have one verdict under every metric."""
    others = claims[claims["kind"].isin(["order", "same", "spread"])]
    for _, rows in others.groupby("claim_id", sort=False):
        if set(rows["verdict"]) == {verdict}:
            yield str(rows["label"].iloc[0])


def throughout(claims: pd.DataFrame) -> str:
    """Which comparisons hold, or fail, under all metrics, by preset."""
    sentences = []
    for preset in presets(claims):
        rows = claims[claims["preset"] == preset]
        for name, verdict in (("hold", REPRODUCED), ("fail", CONTRADICTED)):
            of = list(labels(rows, verdict))
            under = f"under all three metrics{with_preset(preset, claims)}"
            sentences.append(f"Comparisons that {name} {under}: {listed(of) if of else 'none'}.")
    return " ".join(sentences)


def main() -> None:
    """Write the page from the tables given."""
    options = parser(__doc__)
    options.add_argument("--tables", type=Path, required=True, help="folder of the tables, results/tables")
    options.add_argument("--out", type=Path, required=True, help="Markdown to write, results/charts/claims.md")
    args = options.parse_args()
    files.publish_text(args.out, page(Tables(args.tables).claims))
    say(f"charts prose: see {args.out}")


if __name__ == "__main__":
    run_step(main)
