"""What the terminal is told of a study's tables: ``atlas show`` prints one, ``atlas compare`` two arms in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from atlas.charts.findings import after, amount
from atlas.errors import AtlasError
from atlas.metrics import CHOICES, REGISTRY
from atlas.phrases import plural
from atlas.tables import contrasts
from atlas.tables.columns import COLUMNS, CONTRASTS
from atlas.tables.runs import read
from atlas.workflow import files

HIDDEN = {"contract", "n_tests", "p_attainable", "effect", "reason", "label", "topic", "finding", "ci_high"}
HIDDEN |= {"fact_id", "essay_ci_low", "essay_ci_high", "note", "unit", "claim_id", "p_value", "arms", "margin"}
"""Columns that a terminal has no room for; ``--csv`` prints them all. The interval's ends stand in one column."""
SHARE_COLUMNS = {*CHOICES, "recall_low", "recall_high", "recall_rephrase", "share", "chance", "placebo"}
SHARE_COLUMNS |= {"familiarity", "spelling", "per_thousand"}
SHARE_COLUMNS |= {"value", "value_a", "value_b", "value_reinit", "ci_low", "ci_high", "essay_ci_low", "essay_ci_high"}
"""Columns of shares, where their row has no other unit and is of no metric with other bounds."""
HEADINGS = {"ci_low": "95% interval", "n_seeds": "seeds", "n_facts": "facts"}
HEADINGS |= {"rule": "reproduced if", "verdict_half": "at half the margin", "verdict_twice": "at twice"}
ARMS = ("arm", "arm_a", "arm_b", "arm_reinit", "reference")
"""Columns that name an arm; a row is shown where one of them is chosen."""
PROBE_WORDS = {"taught": "facts as taught", "rephrase": "facts asked by a paraphrase", "placebo": "facts never taught"}
PROBE_WORDS |= {"neighbour": "neighbours of facts", "hop": "what follows from facts", "reversed": "facts reversed"}


@dataclass(frozen=True)
class Choice:
    """Rows to show, by value; an empty one chooses all."""

    arm: Sequence[str] = ()
    metric: Sequence[str] = ()
    domain: Sequence[str] = ()
    sessions: Sequence[int] = ()
    probe: Sequence[str] = ()
    seed: Sequence[int] = ()


@dataclass(frozen=True)
class Aspect:
    """What two arms are compared in: a metric, a probe, a domain, and after so many sessions (None: the last)."""

    metric: str = "recall"
    probe: str = "taught"
    domain: str = "all"
    sessions: int | None = None


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
    return chosen(frame, table, replace(choice, domain=choice.domain or (["all"] if "domain" in frame else [])))


def chosen(frame: pd.DataFrame, table: str, choice: Choice) -> pd.DataFrame:
    """The rows of a table that are chosen. Raises AtlasError where a value that is asked for is not there, with what
    there is."""
    for option, columns, wanted in (
        ("--arm", ARMS, choice.arm),
        ("--metric", ["metric"], choice.metric),
        ("--domain", ["domain"], choice.domain),
        ("--probe", ["probe"], choice.probe),
        ("--seed", ["seed"], choice.seed),
        ("--sessions", ["session" if "session" in frame else "sessions"], choice.sessions),
    ):
        have = [name for name in columns if name in frame]
        if wanted and not have:
            raise AtlasError(f"{option}: table {table} has no column {columns[0]!r}; leave it out")
        there = {value for name in have for value in frame[name].dropna()}
        for value in wanted:
            if value not in there:
                raise AtlasError(f"{option} {value}: not in table {table}; it has {', '.join(map(str, sorted(there)))}")
        if wanted:
            frame = frame[frame[have].isin(list(wanted)).any(axis=1)]
    return frame


def show(frame: pd.DataFrame, title: str, console: Console) -> None:
    """Print rows as a table, figures as a person reads them, columns that say the same everywhere above it."""
    hidden = HIDDEN | ({"kind"} if "claim_id" in frame else set())  # of a claim it is its rule, which its unit tells
    shown = [str(name) for name in frame if name not in hidden and frame[name].notna().any()]
    alike = [name for name in shown if len(frame) > 1 and frame[name].nunique(dropna=False) == 1]
    same = [name for name in alike if name not in (*ARMS[1:], "value", "ci_low")]
    said = {name: HEADINGS.get(name, name.replace("_", " ")) for name in shown}
    stated = "; ".join(f"{said[name]}: {_text(name, frame.iloc[0].to_dict())}" for name in same)
    heading = escape(f"{title}{f' ({stated})' if stated else ''}")
    table = Table(title=heading, title_justify="left", title_style="bold")
    columns = [name for name in shown if name not in same]
    for name in columns:
        table.add_column(said[name], justify="right" if pd.api.types.is_numeric_dtype(frame[name]) else "left")
    for row in frame.to_dict("records"):
        table.add_row(*(escape(_text(name, row)) for name in columns))
    console.print(table if len(frame) else escape(f"{title}: no row is of this choice"))


def _text(name: Any, row: Mapping[Any, Any]) -> str:
    """What a cell says; the one of an interval's lower end has both."""
    if name != "ci_low" or pd.isna(row[name]):
        return _figure(name, row)
    low = _figure(name, row)
    return f"{low} or more" if pd.isna(row["ci_high"]) else f"{low} to {_figure('ci_high', row)}"


def _is_share(metric: Any) -> bool:
    """Whether figures of a metric are shares of 1; what is no metric has none of another kind."""
    return metric not in REGISTRY or REGISTRY[metric].range in ("0 to 1", "-1 to 1")


def _figure(name: Any, row: Mapping[Any, Any]) -> str:
    value = row[name]
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in value)
    if pd.isna(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or pa.types.is_integer(COLUMNS.get(name, pa.null())):  # floats beside a missing one
        return f"{value:,.0f}"
    if row.get("unit") in ("parameters", "multiple", "sessions") or "rise" in row or not _is_share(row.get("metric")):
        return f"{value:.4g}"
    if "unit" in row and name in ("measured", "essay_value"):
        return amount(value, float("nan"), float("nan"), row["unit"])
    if name in ("diff", "mde") or (name in ("ci_low", "ci_high") and "diff" in row):
        return f"{100 * value:+.1f}"
    if name in ("core_seconds", "session_facts", "session_tokens"):
        return f"{value:,.0f}"
    of_metric = REGISTRY.get(row.get("metric", ""))
    share = name in SHARE_COLUMNS and (of_metric is None or of_metric.range.endswith("to 1"))
    return f"{value:.1%}" if share else f"{value:.3g}"


def compare(results: Path, arm_a: str, arm_b: str, wanted: Aspect) -> str:
    """The comparison of a minus b in words, from the tables and runs below ``results``.

    Raises AtlasError where an arm, or what is wanted, is not in the study, with what there is.
    """
    pair = _planned(results, arm_a, arm_b)
    planned = len(pair) > 0
    if not planned:
        pair = _from_runs(results, arm_a, arm_b)
    cell = asdict(wanted) | {"sessions": wanted.sessions or int(pair["sessions"].max())}
    for column, value in cell.items():
        if value not in set(pair[column]):
            there = ", ".join(map(str, dict.fromkeys(pair[column])))
            raise AtlasError(f"--{column} {value}: not among the comparisons of these arms; they have {there}")
        pair = pair[pair[column] == value]
    return "\n".join(in_words(pair.iloc[0].to_dict(), planned))


def _planned(results: Path, arm_a: str, arm_b: str) -> pd.DataFrame:
    """The rows of the pair in the planned contrasts, turned round where it was planned the other way."""
    path = results / "tables" / "contrasts.parquet"
    if not path.is_file():
        return pd.DataFrame()
    table: pd.DataFrame = files.read_parquet(path, CONTRASTS).to_pandas()
    pair = table[(table["arm_a"] == arm_a) & (table["arm_b"] == arm_b)]
    if len(pair):
        return pair
    pair = table[(table["arm_a"] == arm_b) & (table["arm_b"] == arm_a)]
    ends = {"arm_a": "arm_b", "value_a": "value_b", "ci_low": "ci_high"}
    turned = pair.rename(columns=ends | {there: here for here, there in ends.items()})
    turned[["diff", "ci_low", "ci_high"]] *= -1
    return turned.assign(verdict=turned["verdict"].replace({"a > b": "b > a", "b > a": "a > b"}))


def _from_runs(results: Path, arm_a: str, arm_b: str) -> pd.DataFrame:
    """The rows that the contrasts would have, had the pair been planned."""
    folders = sorted(path.parent for path in (results / "ttt").glob("*/*/run.json"))
    known = list(dict.fromkeys(folder.parent.name for folder in folders))
    for arm in (arm_a, arm_b):
        if arm not in known:
            raise AtlasError(f"{results}: no runs of arm {arm!r}; it has runs of {', '.join(known) or 'none'}")
    runs = read([folder for folder in folders if folder.parent.name in (arm_a, arm_b)])
    plan = contrasts.Contrasts(contrasts={"unplanned": [(arm_a, arm_b)]})
    table: pd.DataFrame = contrasts.table(runs, plan).to_pandas()
    if table.empty:
        raise AtlasError(f"{arm_a} and {arm_b} have no seed and checkpoint in common; run both with the same ones")
    return table


def in_words(row: Mapping[Any, Any], planned: bool) -> Iterator[str]:
    """A row of the contrasts as sentences: what was compared, the difference, what is behind it, the verdict."""
    a, b, where = row["arm_a"], row["arm_b"], "" if row["domain"] == "all" else f" of the domain {row['domain']}"
    asked = f"{REGISTRY[row['metric']].label}, {PROBE_WORDS[row['probe']]}{where}, {after(row['sessions'])}"
    yield f"{asked}: {a} {row['value_a']:.1%}, {b} {row['value_b']:.1%}."
    basis = f"paired over {plural(row['n_seeds'], 'seed')} of {plural(row['n_facts'], 'fact')}"
    interval = f"95% interval {100 * row['ci_low']:+.1f} to {100 * row['ci_high']:+.1f}"
    yield f"{a} less {b}: {100 * row['diff']:+.1f} points, {interval}, {basis}."
    several = "; which of these the difference comes from, this pair cannot tell" if " and " in row["differs"] else ""
    yield f"The two arms differ in {row['differs']}{several}."
    if row["verdict"] == "unresolved":
        yield f"Verdict: unresolved, {row['reason']}."
    else:
        higher, lower = (a, b) if row["verdict"] == "a > b" else (b, a)
        yield f"Verdict: {higher} is above {lower}, p = {row['p_adjusted']:.2g} in the sign-flip test over seeds."
    if row["few_seeds"]:
        yield "Few seeds carry the figure of one of the two, or none does: the interval cannot speak of rarer ones."
    if not pd.isna(row["mde"]):
        yield f"Differences under {100 * row['mde']:.1f} points would be missed in more than one of five studies."
    if planned:
        yield f"Planned: family {row['family']}, for which p is corrected."
    else:
        yield (
            "Not planned: this pair was chosen after the study was designed, so p is corrected for nothing; take it "
            "as a hint, and plan it (`contrasts` in config.yaml) with new seeds before you rely on it."
        )
