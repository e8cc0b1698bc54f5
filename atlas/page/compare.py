"""Two arms compared in words, as ``atlas compare`` prints them: from the planned contrasts, or else from the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.charts.words import SHORT, after, plural
from atlas.errors import AtlasError
from atlas.tables import contrasts
from atlas.tables.columns import CONTRASTS
from atlas.tables.runs import read
from atlas.workflow import files

ASKED = {"taught": "facts as taught", "rephrase": "facts asked in other words", "placebo": "facts never taught"}


@dataclass(frozen=True)
class Wanted:
    """What is to be compared: facts of a probe and domain under a metric, after so many sessions (None: the last)."""

    metric: str = "recall"
    probe: str = "taught"
    domain: str = "all"
    sessions: int | None = None


def compare(results: Path, arm_a: str, arm_b: str, wanted: Wanted) -> str:
    """The comparison of a minus b in words, from the tables and runs below ``results``.

    Raises AtlasError where an arm, or what is wanted, is not in the study, with what there is.
    """
    planned, row = _planned(results, arm_a, arm_b, wanted)
    if row is None:
        row = _from_runs(results, arm_a, arm_b, wanted)
    return "\n".join(words(row, planned))


def words(row: Mapping[Any, Any], planned: bool) -> list[str]:
    """A row of the contrasts as sentences: what was compared, the difference, what is behind it, the verdict."""
    a, b, where = row["arm_a"], row["arm_b"], "" if row["domain"] == "all" else f" of the domain {row['domain']}"
    asked = f"{SHORT[row['metric']]}, {ASKED[row['probe']]}{where}, {after(row['sessions'])}"
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    lines = [
        f"{asked}: {a} {row['value_a']:.1%}, {b} {row['value_b']:.1%}.",
        f"{a} less {b}: {100 * row['diff']:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}, paired over "
        f"{plural(row['n_seeds'], 'seed')} of {plural(row['n_facts'], 'fact')}.",
        f"Verdict: {_verdict(row)}.",
    ]
    if not pd.isna(row["mde"]):
        lines.append(
            f"Differences under {100 * row['mde']:.1f} points would be missed in more than one of five studies."
        )
    if planned:
        return [*lines, f"Planned: family {row['family']}, p after Holm's correction."]
    return [
        *lines,
        "Not planned: this pair was chosen after the study was designed, so p is corrected for nothing; take it as a "
        "hint, and plan it (`contrasts` in config.yaml) with new seeds before you rely on it.",
    ]


def _verdict(row: Mapping[Any, Any]) -> str:
    p = f"p = {row['p_adjusted']:.2g}"
    if row["verdict"] == "unresolved":
        return f"unresolved, {row['reason']}"
    first, second = row["verdict"].split(" > ")
    higher, lower = (row["arm_a"], row["arm_b"]) if (first, second) == ("a", "b") else (row["arm_b"], row["arm_a"])
    return f"{higher} is above {lower}, {p} in the sign-flip test over seeds"


def _planned(results: Path, arm_a: str, arm_b: str, wanted: Wanted) -> tuple[bool, Mapping[Any, Any] | None]:
    """Whether the pair was planned, and its row; turned round where it was planned the other way."""
    path = results / "tables" / "contrasts.parquet"
    if not path.is_file():
        return False, None
    table = files.read_parquet(path, CONTRASTS).to_pandas()
    for first, second, turned in ((arm_a, arm_b, False), (arm_b, arm_a, True)):
        pair = table[(table["arm_a"] == first) & (table["arm_b"] == second)]
        if len(pair):
            row = _in_cell(pair, wanted)
            return True, _turned(row) if turned else row
    return False, None


def _in_cell(rows: pd.DataFrame, wanted: Wanted) -> Mapping[Any, Any]:
    last = int(rows["sessions"].max())
    cell = {**asdict(wanted), "sessions": wanted.sessions or last}
    for column, value in cell.items():
        if value not in set(rows[column]):
            there = ", ".join(map(str, dict.fromkeys(rows[column])))
            raise AtlasError(f"--{column} {value}: not among the comparisons of these arms; they have {there}")
        rows = rows[rows[column] == value]
    return dict(rows.iloc[0])


def _turned(row: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The same comparison seen from the other arm."""
    swapped = {"a > b": "b > a", "b > a": "a > b"}
    return {
        **row,
        "arm_a": row["arm_b"],
        "arm_b": row["arm_a"],
        "value_a": row["value_b"],
        "value_b": row["value_a"],
        "diff": -row["diff"],
        "ci_low": -row["ci_high"],
        "ci_high": -row["ci_low"],
        "verdict": swapped.get(row["verdict"], row["verdict"]),
    }


def _from_runs(results: Path, arm_a: str, arm_b: str, wanted: Wanted) -> Mapping[Any, Any]:
    folders = sorted(path.parent for path in (results / "ttt").glob("*/*/run.json"))
    known = list(dict.fromkeys(folder.parent.name for folder in folders))
    for arm in (arm_a, arm_b):
        if arm not in known:
            raise AtlasError(f"{results}: no runs of arm {arm!r}; it has runs of {', '.join(known) or 'none'}")
    runs = read([folder for folder in folders if folder.parent.name in (arm_a, arm_b)])
    plan = contrasts.Contrasts(contrasts={"unplanned": [(arm_a, arm_b)]})
    table = contrasts.table(runs, plan).to_pandas()
    if table.empty:
        raise AtlasError(f"{arm_a} and {arm_b} have no seed and checkpoint in common; run both with the same ones")
    return _in_cell(table, wanted)
