"""Tests of paired differences over seeds, the verdict, and their power: what a number of seeds can show."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import scipy

from atlas.draws import rng
from atlas.tables.intervals import CONFIDENCE, Floats

LEVEL = 0.05
EXACT = 16  # seeds: up to so many, all 2^n sign patterns are tried

POWER = 0.8
SIMULATED = 10  # seeds: up to so many the sign-flip test's own power is simulated, beyond it is Student's
STUDIES = 4000
MOST_SEEDS = 10_000


def sign_flip(differences: Floats) -> float:
    """Two-sided p-value of the sign-flip test for differences, one a seed, shape (seeds,).

    If the two arms were the same, each difference could as well have had the other sign: the p-value is the share of
    all 2^n sign patterns whose mean lies as far out (Fisher, The Design of Experiments, 1935, section 21). It cannot
    go below 2 / 2^n. Beyond ``EXACT`` seeds, 2^16 patterns are drawn.
    """
    if len(differences) < 2 or not differences.any():
        return 1.0
    result = scipy.stats.permutation_test(
        (differences,),
        lambda values, axis: np.mean(values, axis=axis).round(12),  # means equal but for rounding are ties
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT,
        batch=2**12,
        alternative="two-sided",
        rng=rng("sign flip", len(differences)),
    )
    return min(1.0, float(result.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction over a family (A simple sequentially rejective multiple test procedure, 1979).

    The smallest of m p-values is multiplied by m, the next by m - 1 and so on; none may fall below the one before.
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(raised, 1)
    return [float(value) for value in adjusted]


def attainable(seeds: int, family: int = 1) -> float:
    """The smallest p-value that the sign-flip test of so many seeds can give after Holm's correction, at its first
    and strictest step: above ``LEVEL``, nothing could be found however large the difference."""
    return min(1.0, family * 2.0 ** (1 - seeds))


def seeds_to_decide(family: int = 1) -> int:
    """The fewest seeds with which the smallest p-value of a family of so many can fall below ``LEVEL``."""
    return next(seeds for seeds in itertools.count(2) if attainable(seeds, family) < LEVEL)


def effect_size(differences: Floats) -> float:
    """Standardised paired difference: the mean of the differences in units of their standard deviation over seeds,
    with Hedges's correction for few seeds (Lakens, Calculating and reporting effect sizes, 2013, d_z and g).

    NaN where it is not defined: one seed, or no spread at all.
    """
    n = len(differences)
    spread = float(differences.std(ddof=1)) if n > 1 else 0.0
    if spread <= 1e-12:
        return float("nan")
    return float(differences.mean()) / spread * (1 - 3 / (4 * (n - 1) - 1))


def verdict(diff: float, low: float, high: float, p_adjusted: float, best: float) -> tuple[str, str]:
    """The verdict on a minus b, and the reason where there is none.

    ``a > b`` where the adjusted p-value is below ``LEVEL`` and the whole interval lies above 0; ``b > a`` where it
    lies below 0; else ``unresolved``. ``best`` is the smallest p-value that was attainable.
    """
    if best >= LEVEL:
        return "unresolved", f"too few seeds: p cannot fall below {best:.3g}"
    if p_adjusted >= LEVEL:
        return "unresolved", f"p = {p_adjusted:.2g} after Holm's correction"
    if not (low > 0 or high < 0):
        return "unresolved", "the interval holds 0"
    return ("a > b" if diff > 0 else "b > a"), ""


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
    return float(scipy.optimize.bisect(lambda size: power(size) - POWER, 0, 10, xtol=1e-3))


def _student_power(seeds: int, level: float) -> Callable[[float], float]:
    """Power of the two-sided paired t-test on the side of the difference, by the difference in standard deviations."""
    bound = scipy.special.stdtrit(seeds - 1, 1 - level / 2)
    return lambda size: float(scipy.stats.nct.sf(bound, seeds - 1, size * math.sqrt(seeds)))


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
    widths = scipy.special.stdtrit(seeds - 1, 1 - (1 - CONFIDENCE) / 2) * spread / np.sqrt(seeds)
    enough = seeds[widths <= half_width]
    return int(enough[0]) if len(enough) else MOST_SEEDS


def spread_interval(spread: float, seeds: int) -> tuple[float, float]:
    """95% interval of a standard deviation that was estimated from so many seeds (chi-square; normal differences)."""
    if seeds < 2:
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = (math.sqrt((seeds - 1) / (2 * scipy.special.gammaincinv((seeds - 1) / 2, q))) for q in (1 - tail, tail))
    return spread * low, spread * high
