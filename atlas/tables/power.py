"""What a number of seeds can show: the smallest difference it would have found, and how many seeds a width needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from atlas.draws import rng
from atlas.tables.inference import LEVEL, attainable
from atlas.tables.intervals import CONFIDENCE

POWER = 0.8
SIMULATED = 10  # seeds: up to so many the sign-flip test's own power is simulated, beyond it is Student's
STUDIES = 4000
MOST_SEEDS = 10_000


@lru_cache
def smallest_difference(seeds: int, family: int = 1) -> float:
    """The difference that is found with 80% power, in standard deviations of one seed's difference.

    Found means p below ``LEVEL`` after Holm's correction at its strictest step, for the smallest of ``family``
    p-values. Few seeds give the sign-flip test few p-values, which costs power; so up to ``SIMULATED`` seeds the
    power is that of the test itself over normal differences, and beyond that of Student's paired test (noncentral t;
    Cohen, Statistical Power Analysis, 1988, section 2). NaN where no difference could be found.
    """
    if seeds < 2 or attainable(seeds, family) >= LEVEL:
        return float("nan")
    power = (_sign_flip_power if seeds <= SIMULATED else _student_power)(seeds, LEVEL / family)
    return float(optimize.bisect(lambda size: power(size) - POWER, 0, 10, xtol=1e-3))


def _student_power(seeds: int, level: float) -> Callable[[float], float]:
    """Power of the two-sided paired t-test on the side of the difference, by the difference in standard deviations."""
    bound = stats.t.ppf(1 - level / 2, seeds - 1)
    return lambda size: float(stats.nct.sf(bound, seeds - 1, size * math.sqrt(seeds)))


def _sign_flip_power(seeds: int, level: float) -> Callable[[float], float]:
    """Power of the sign-flip test, over simulated studies of normal differences that are the same for every size."""
    flips = np.arange(2 ** (seeds - 1)) >> np.arange(seeds)[:, None] & 1  # (seeds, patterns); the test has two sides
    signs = 1.0 - 2 * flips
    drawn = rng("power", seeds).standard_normal((STUDIES, seeds))

    def power(size: float) -> float:
        sums = np.abs((drawn + size) @ signs)
        p_values = (sums >= sums[:, :1] - 1e-9).mean(axis=1)  # the first pattern flips nothing
        return float((p_values < level).mean())

    return power


def seeds_for(half_width: float, spread: float) -> int:
    """The fewest seeds (from 2) whose 95% interval is at most ``half_width`` to either side, where one seed's
    difference has the standard deviation ``spread``: n such that t(n - 1) spread / sqrt(n) is small enough. At most
    ``MOST_SEEDS``."""
    seeds = np.arange(2, MOST_SEEDS + 1)
    widths = stats.t.ppf(1 - (1 - CONFIDENCE) / 2, seeds - 1) * spread / np.sqrt(seeds)
    enough = seeds[widths <= half_width]
    return int(enough[0]) if len(enough) else MOST_SEEDS


def spread_interval(spread: float, seeds: int) -> tuple[float, float]:
    """95% interval of a standard deviation that was estimated from so many seeds (chi-square; normal differences)."""
    if seeds < 2:
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = (math.sqrt((seeds - 1) / stats.chi2.ppf(q, seeds - 1)) for q in (1 - tail, tail))
    return spread * low, spread * high
