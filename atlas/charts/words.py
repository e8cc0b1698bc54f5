"""Figures in words: titles and subtitles are made here from the tables, never typed."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from atlas.metrics import CHOICES, REGISTRY

METRIC_NAMES = {name: REGISTRY[name].title for name in CHOICES}
SHORT = {name: REGISTRY[name].label for name in CHOICES}


def percent(share: float) -> str:
    """A share as a whole percentage; small ones keep a digit, so that 0.4% is not 0%."""
    small = 0 < abs(share) < 0.0095
    return f"{share:.1%}" if small else f"{share:.0%}"


def span(low: float, high: float) -> str:
    """``2 to 25%``, or one figure where both read the same."""
    return percent(high) if percent(low) == percent(high) else f"{percent(low).rstrip('%')} to {percent(high)}"


def sentences(parts: Iterable[str]) -> str:
    """``One thing. Another thing.``"""
    return " ".join(f"{part}." for part in parts)


def listed(items: Iterable[object]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *head, last = map(str, items)
    return f"{', '.join(head)} and {last}" if head else last


def plural(number: int, noun: str) -> str:
    """``1 seed``, ``4 seeds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def after(sessions: int) -> str:
    """``after 1 session``, ``after 30 sessions``."""
    return f"after {plural(int(sessions), 'session')}"


def basis(rows: pd.DataFrame) -> str:
    """Seeds and facts behind some rows, and what their intervals are."""
    facts = listed(f"{int(n):,}" for n in sorted(set(rows["n_facts"])))
    return f"{plural(int(rows['n_seeds'].max()), 'seed')} of {facts} facts; {interval(rows)}"


def interval(rows: pd.DataFrame, marks: str = "bars") -> str:
    """What the intervals of some rows are taken over: with one seed they cannot speak of seeds."""
    if rows["n_seeds"].max() > 1:
        return f"{marks}: 95% interval over seeds and facts"
    return f"{marks}: 95% interval over facts; one seed cannot show how much seeds differ"


def banded(rows: pd.DataFrame) -> str:
    """The same in few words, of lines with bands."""
    return f"Bands: 95% interval over {'seeds and facts' if rows['n_seeds'].max() > 1 else 'facts (one seed)'}."


def extremes(rows: pd.DataFrame, what: str, column: str = "value") -> str:
    """``what: from 2% (a) to 25% (b)`` over the arms, or the one figure of a single arm."""
    if len(rows) == 1:
        return f"{what}: {percent(rows[column].iloc[0])} ({rows['arm'].iloc[0]})"
    ordered = rows.sort_values(column, kind="stable")
    low, high = ordered.iloc[0], ordered.iloc[-1]
    if percent(low[column]) == percent(high[column]):
        return f"{what}: {percent(low[column])} in every arm"
    return f"{what}: from {percent(low[column])} ({low['arm']}) to {percent(high[column])} ({high['arm']})"


def placebo_warning(placebo: pd.DataFrame) -> str:
    """What the recognition of facts never taught says about recognition, for rows of one checkpoint."""
    range_ = span(placebo["value"].min(), placebo["value"].max())
    if placebo["value"].min() >= 0.5:
        return f"Recognition proves little: facts never taught score {range_}"
    return f"Facts never taught are recognised in {range_} of cases"
