"""The result tables of the README, as Markdown between two marks, written by ``atlas readme``: nothing is typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas import files
from atlas.errors import AtlasError
from atlas.tables.schema import ARMS, HARM, RETENTION

BEGIN, END = "<!-- retention:begin -->", "<!-- retention:end -->"
COMMAND = "make reproduce && atlas readme"
COLUMNS = {
    "Recall": ("taught", "recall"),
    "Ranked": ("taught", "ranked"),
    "Recognition": ("taught", "recognition"),
    "Recognition, placebo": ("placebo", "recognition"),
    "Recall, rephrased": ("rephrase", "recall"),
    "Recognition, rephrased": ("rephrase", "recognition"),
}
"""Heading of a column to the probe and metric that it shows."""

Row = Mapping[str, Any]


def filled(text: str, block: str, origin: str) -> str:
    """``text`` with what is between the marks replaced by ``block``. AtlasError where the marks are not as expected."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise AtlasError(f"{origin}: expected {BEGIN} once and, after it, {END} once; put the two lines back")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def render(results: Path) -> str:
    """Markdown of the main figures under ``results``. Raises AtlasError where a table is missing or damaged."""
    tables = results / "tables"
    arms = {row["arm"]: row for row in files.read_parquet(tables / "arms.parquet", ARMS).to_pylist()}
    retention = files.read_parquet(tables / "retention.parquet", RETENTION).to_pylist()
    harm = files.read_parquet(tables / "harm.parquet", HARM).to_pylist()
    overall = [row for row in retention if row["domain"] == "all"]
    parts = [_origin(results, overall)]
    for sessions in sorted({row["sessions"] for row in overall}):
        parts.append(_retention([row for row in overall if row["sessions"] == sessions], arms, sessions))
    parts.append(_harm(harm))
    return "\n\n".join(parts)


def _origin(results: Path, rows: Sequence[Row]) -> str:
    manifest = files.read_json(results / "base" / "base.json")
    seeds = max(row["n_seeds"] for row in rows)
    return (
        f"Made by `{COMMAND}`. Means over {seeds} seeds, in brackets the 95% interval over seeds and facts. "
        f"Validation loss of the base: {manifest['val_loss']:.3f} nats per character, "
        f"after {manifest['steps']:,} steps in {manifest['seconds'] / 60:.1f} minutes."
    )


def _retention(rows: Sequence[Row], arms: Mapping[str, Row], sessions: int) -> str:
    cells = {(row["arm"], row["probe"], row["metric"]): row for row in rows}
    facts = max(row["n_facts"] for row in rows if row["probe"] == "taught")
    lines = [
        [
            f"`{arm}`",
            f"{about['trainable_params']:,} ({about['share']:.0%})",
            *(_percent(cells.get((arm, *cell))) for cell in COLUMNS.values()),
        ]
        for arm, about in arms.items()
    ]
    return f"**After {sessions} sessions ({facts} facts)**\n\n" + _markdown(["Arm", "Parameters", *COLUMNS], lines)


def _percent(row: Row | None) -> str:
    if row is None:
        return ""
    if row["ci_low"] is None:
        return f"{row['value']:.1%}"
    return f"{row['value']:.1%} ({100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f})"


def _harm(rows: Sequence[Row]) -> str:
    lines = [
        [f"`{row['arm']}`", str(row["sessions"]), f"{row['val_loss_base']:.3f}", f"{row['val_loss']:.3f}"]
        for row in rows
    ]
    heading = ["Arm", "Sessions", "Shakespeare, base", "Shakespeare, after teaching"]
    return "**What teaching cost the base (nats per character)**\n\n" + _markdown(heading, lines)


def _markdown(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, first column to the left and figures to the right."""
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rule, *lines))
