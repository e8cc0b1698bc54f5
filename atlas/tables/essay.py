"""What the essay's figures are worth: each with the interval of its own sample size, and sums of them with theirs.

The interval of a share is Wilson's (1927), that of a weighted sum of independent shares is put together from theirs
(MOVER: Newcombe 1998, method 10, for a difference; Zou and Donner 2008 for sums). It covers the choice of facts only:
every figure is of one seed, so how much seeds differ is not in it, and it is rather too narrow than too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.tables import intervals
from atlas.tables.intervals import Floats
from atlas.tables.ledger import Combined, Figure, Ledger, read


@dataclass(frozen=True)
class Measure:
    """A value with its 95% interval; ends are NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


def share(figure: Figure) -> Measure:
    """A printed figure as a share of its facts, with Wilson's interval."""
    value = figure.hits / figure.of
    return Measure(value, *intervals.wilson(value, figure.of))


def weighted_sum(weights: Sequence[float], parts: Sequence[Measure]) -> Measure:
    """The sum of weight times part, with the interval that follows from those of independent parts (MOVER)."""
    total = sum(weight * part.value for weight, part in zip(weights, parts, strict=True))
    below = above = 0.0
    for weight, part in zip(weights, parts, strict=True):
        down, up = sorted((weight * (part.low - part.value), weight * (part.high - part.value)))
        below, above = below + down**2, above + up**2
    return Measure(total, total - below**0.5, total + above**0.5)


def slope_weights(sizes: Sequence[float]) -> Floats:
    """Weights of the domains in the slope of retention over the decimal logarithm of domain size.

    The least-squares line through the facts: a domain counts as often as it has facts. ``sizes`` and the result have
    shape (domains,); NaN where all domains are of one size.
    """
    facts = np.asarray(sizes, np.float64)
    centred = np.log10(facts) - np.average(np.log10(facts), weights=facts)
    variation = float(facts @ centred**2)
    return np.asarray(facts * centred / variation) if variation > 1e-9 else np.full(len(facts), np.nan)


def published(claim: Combined, ledger: Ledger) -> Measure | None:
    """What the essay's own figures say of a claim; None where it does not print all of them."""
    weights: list[float] = []
    parts: list[Measure] = []
    for sign, cell in claim.signed:
        one = ledger.figure_of.get(cell.place)
        figures = ledger.figures_by_domain(cell) if claim.by_size else [one] if one else []
        if not figures:
            return None
        slopes = slope_weights([figure.of for figure in figures]) if claim.by_size else np.ones(1)
        weights += list(sign * slopes)
        parts += [share(figure) for figure in figures]
    return weighted_sum(weights, parts)


def retention_figures() -> pd.DataFrame:
    """The essay's figures as shares of 1: arm, sessions, probe, domain, value."""
    rows = [(*figure.place, float(figure.printed) / 100) for figure in read().figures]
    return pd.DataFrame(rows, columns=["arm", "sessions", "probe", "domain", "value"])
