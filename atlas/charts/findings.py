"""What charts say in words: phrases of titles and subtitles, made of the tables and never typed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from atlas.metrics import NET_OF, OF_FACTS
from atlas.phrases import listed as listed  # the charts take all their phrases from here
from atlas.phrases import plural
from atlas.tables.verdicts import CONTRADICTED, NOT_TESTABLE, REPRODUCED, UNRESOLVED

HEADLINE, ESSAYS = "recall", "recognition"
"""The metric that titles are about, and the one that the essay's retention is read as."""


AMONG_TAUGHT = "association"
"""The metric that is told beside its chance, and beside how often a taught answer comes first where none was taught."""
FEW_SEEDS = "few seeds"  # beside an interval that speaks of the seeds at hand alone, see atlas.tables.intervals


def has_net(metric: str) -> bool:
    """Whether a metric is to be read beside facts never taught, so that another one is net of theirs."""
    return metric in NET_OF


def percent(share: float) -> str:
    """A share as a whole percentage; small ones keep a digit, so that 0.4% is not 0%."""
    small = 0 < abs(share) < 0.0095
    return f"{share:.1%}" if small else f"{share:.0%}"


def span(low: float, high: float) -> str:
    """``2 to 25%``, or one figure where both read the same."""
    return percent(high) if percent(low) == percent(high) else f"{percent(low).rstrip('%')} to {percent(high)}"


POINTS = {"difference": "points", "slope": "points per tenfold of facts", "spread": "points"}
"""Unit of a figure that is told in points to how that is said."""


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


def sentences(parts: Iterable[str]) -> str:
    """``One thing. Another thing.``"""
    return " ".join(f"{part}." for part in parts)


def after(sessions: Any) -> str:
    """``after 1 session``, ``after 30 sessions``."""
    return f"after {plural(int(sessions), 'session')}"


def seeds(rows: pd.DataFrame) -> str:
    """``1 seed``, ``8 seeds``: those behind some rows."""
    return plural(int(rows["n_seeds"].max()), "seed")


def basis(rows: pd.DataFrame) -> str:
    """Seeds and facts behind some rows, and what their intervals are. Beside other metrics, ``left_out`` says of how
    many facts association is."""
    others = rows[rows["metric"] != AMONG_TAUGHT] if "metric" in rows else rows
    facts = listed(f"{int(n):,}" for n in sorted(set((rows if others.empty else others)["n_facts"])))
    return f"{seeds(rows)} of {facts} facts; {interval(rows)}"


def interval(rows: pd.DataFrame, marks: str = "bars") -> str:
    """What the intervals of some rows are taken over: with one seed they cannot speak of seeds."""
    if rows["n_seeds"].max() > 1:
        return f"{marks}: 95% interval over seeds and facts"
    return f"{marks}: 95% interval over facts; one seed cannot show how much seeds differ"


def left_out(rows: pd.DataFrame) -> list[str]:
    """What association leaves out of some rows that have it, of all seeds together, as a sentence."""
    taught = rows[(rows["metric"] == AMONG_TAUGHT) & (rows["probe"] == "taught")]
    counts = [
        f"{part['left_out'].max():,.0f} of {(part['left_out'] + part['n_tests']).max():,.0f} {after(sessions)}"
        for sessions, part in taught.groupby("sessions")
        if part["left_out"].any()
    ]
    return (
        [f"Association leaves out facts without another answer taught in their template: {listed(counts)}."]
        if counts
        else []
    )


def familiarity(row: Any) -> dict[str, Any]:
    """Familiarity with its interval, of rows of association on placebo prompts, or of one."""
    return {"value": row["familiarity"], "ci_low": 1 - row["ci_high"], "ci_high": 1 - row["ci_low"]}


def familiar(rows: pd.DataFrame) -> str:
    """What chance and familiarity are, in words, for rows of association of one checkpoint; empty without any."""
    chance, placebo = rows.loc[rows["probe"] == "taught", "chance"], rows[rows["probe"] == "placebo"]
    if chance.empty:
        return ""
    said = f"Chance is {span(chance.min(), chance.max())}"
    if placebo.empty:
        return said
    share = span(placebo["familiarity"].min(), placebo["familiarity"].max())
    return f"{said}; on prompts never taught a taught answer comes first in {share} of cases"


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last checkpoint."""
    ended: pd.DataFrame = rows[rows["sessions"] == rows["sessions"].max()]
    return ended


def extremes(rows: pd.DataFrame, what: str) -> str:
    """``what: from 2% (a) to 25% (b)`` over the arms, or the one figure of a single arm."""
    ordered = rows.sort_values("value", kind="stable")
    (low, high), (least, most) = ordered["value"].iloc[[0, -1]], ordered["arm"].iloc[[0, -1]]
    if len(rows) == 1:
        return f"{what}: {percent(low)} ({least})"
    if percent(low) == percent(high):
        return f"{what}: {percent(low)} in every arm"
    return f"{what}: from {percent(low)} ({least}) to {percent(high)} ({most})"


def placebo_warning(placebo: pd.DataFrame) -> str:
    """What the recognition of facts never taught says about recognition, for rows of one checkpoint."""
    range_ = span(placebo["value"].min(), placebo["value"].max())
    if placebo["value"].min() >= 0.5:
        return f"Recognition proves little: facts never taught score {range_}"
    return f"Facts never taught are recognised in {range_} of cases"


def presets(claims: pd.DataFrame) -> list[str]:
    """The presets that claims on facts were judged under."""
    return list(dict.fromkeys(claims.loc[claims["metric"].isin(OF_FACTS), "preset"]))


def with_preset(preset: str, claims: pd.DataFrame) -> str:
    """What a sentence adds about its preset where ``claims`` have several."""
    return f" with preset {preset}" if len(presets(claims)) > 1 else ""


def counts(rows: pd.DataFrame) -> str:
    """``3 of 10 claims reproduced, 5 contradicted, 2 unresolved``, of the rows of one metric."""
    tested = rows[rows["verdict"] != NOT_TESTABLE]
    if tested.empty:
        return f"none of {plural(len(rows), 'claim')} can be tested at the size of this study"
    number = tested["verdict"].value_counts().reindex([REPRODUCED, CONTRADICTED, UNRESOLVED], fill_value=0)
    reproduced = f"{number[REPRODUCED]} of {plural(len(tested), 'claim')} reproduced"
    return f"{reproduced}, {number[CONTRADICTED]} contradicted, {number[UNRESOLVED]} unresolved"
