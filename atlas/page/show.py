"""The tables in the terminal: what ``atlas show`` prints, for reading or as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from atlas.errors import AtlasError
from atlas.page.prose import amount
from atlas.workflow import files

HIDDEN = {"contract", "n_tests", "p_attainable", "effect", "reason", "label", "topic", "finding", "ci_high"}
HIDDEN |= {"essay_ci_low", "essay_ci_high", "note", "unit", "claim_id", "p_value", "arms"}
"""Columns that a terminal has no room for; ``--csv`` prints them all. The interval's ends stand in one column."""
SHARES = {
    "recall",
    "recall_low",
    "recall_high",
    "ranked",
    "recognition_net",
    "recall_rephrase",
    "value",
    "value_a",
    "value_b",
    "value_reinit",
    "share",
    "chance",
    "placebo",
}
POINTS = {"diff", "mde"}
ARMS = ("arm", "arm_a", "arm_b", "arm_reinit", "reference")
"""Columns that name an arm; a row is shown where one of them is chosen."""


@dataclass(frozen=True)
class Choice:
    """Rows to show, by value; an empty one chooses all."""

    arm: Sequence[str] = ()
    metric: Sequence[str] = ()
    domain: Sequence[str] = ()
    sessions: Sequence[int] = ()


def names(folder: Path) -> list[str]:
    """Tables that a results folder has. AtlasError where it has none."""
    found = sorted(path.stem for path in folder.glob("*.parquet"))
    if not found:
        raise AtlasError(f"{folder}: no tables; make them by running `snakemake tables`, or give --results")
    return found


def rows(folder: Path, table: str, choice: Choice) -> pd.DataFrame:
    """The rows of a table that are chosen, all columns. Without a domain in the choice, those over all domains.

    Raises AtlasError where the table, or a value that is asked for, is not there, with what there is.
    """
    known = names(folder)
    if table not in known:
        raise AtlasError(f"{folder}: no table {table!r}; it has {', '.join(known)}")
    frame: pd.DataFrame = files.read_parquet(folder / f"{table}.parquet").to_pandas()
    for option, columns, wanted in (
        ("--arm", [name for name in ARMS if name in frame], choice.arm),
        ("--metric", ["metric"], choice.metric),
        ("--domain", ["domain"], choice.domain or (["all"] if "domain" in frame else [])),
        ("--sessions", ["session" if "session" in frame else "sessions"], choice.sessions),
    ):
        if wanted:
            frame = _chosen(frame, table, option, columns, wanted)
    return frame


def _chosen(
    frame: pd.DataFrame, table: str, option: str, columns: Sequence[str], wanted: Sequence[Any]
) -> pd.DataFrame:
    have = [name for name in columns if name in frame]
    if not have:
        raise AtlasError(f"{option}: table {table} has no column {columns[0] if columns else 'arm'!r}; leave it out")
    there = {value for name in have for value in frame[name]}
    for value in wanted:
        if value not in there:
            raise AtlasError(f"{option} {value}: not in table {table}; it has {', '.join(sorted(map(str, there)))}")
    return frame[frame[have].isin(list(wanted)).any(axis=1)]


def show(frame: pd.DataFrame, title: str, console: Console) -> None:
    """Print rows as a table, figures as a person reads them, columns that say the same everywhere above it."""
    hidden = HIDDEN | ({"kind"} if "claim_id" in frame else set())  # of a claim it is its rule, which its unit tells
    shown = [str(name) for name in frame if name not in hidden and frame[name].notna().any()]
    same = {name: frame[name].iloc[0] for name in shown if len(frame) > 1 and _alike(frame[name])}
    stated = "; ".join(f"{_heading(name)}: {_text(name, frame.iloc[0].to_dict())}" for name in same)
    table = Table(title=f"{title}{f' ({stated})' if stated else ''}", title_justify="left", title_style="bold")
    for name in shown:
        if name not in same:
            table.add_column(_heading(name), justify="right" if pd.api.types.is_numeric_dtype(frame[name]) else "left")
    for row in frame.to_dict("records"):
        table.add_row(*(_text(name, row) for name in shown if name not in same))
    console.print(table)


def _alike(values: pd.Series[Any]) -> bool:
    return values.name not in ARMS and values.nunique(dropna=False) == 1 and values.name not in ("value", "ci_low")


def _heading(name: str) -> str:
    return {"ci_low": "95% interval", "n_seeds": "seeds", "n_facts": "facts"}.get(name, name.replace("_", " "))


def _text(name: Any, row: Mapping[Any, Any]) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    in_its_unit = row.get("unit") in ("parameters", "multiple", "sessions") or "rise" in row
    if name == "ci_low":
        low, high = _figure(name, value, row, in_its_unit), row["ci_high"]
        return f"{low} or more" if pd.isna(high) else f"{low} to {_figure(name, high, row, in_its_unit)}"
    return _figure(name, value, row, in_its_unit)


def _figure(name: Any, value: Any, row: Mapping[Any, Any], in_its_unit: bool) -> str:
    if isinstance(value, bool | int):
        return f"{value:,}" if not isinstance(value, bool) else ("yes" if value else "no")
    if in_its_unit:
        return f"{value:.4g}"
    if "unit" in row and name in ("measured", "essay_value"):
        return amount(value, float("nan"), float("nan"), row["unit"])
    if name in POINTS or (name in ("ci_low", "ci_high") and "diff" in row):
        return f"{100 * value:+.1f}"
    if name == "core_seconds":
        return f"{value:,.0f}"
    shares = name in SHARES or name in ("ci_low", "ci_high", "essay_ci_low", "essay_ci_high")
    return f"{value:.1%}" if shares else f"{value:.3g}"
