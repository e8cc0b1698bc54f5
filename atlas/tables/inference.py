"""Tests of paired differences over seeds, the verdict, and their power: what a number of seeds can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import scipy

from atlas.draws import rng
from atlas.tables.intervals import CONFIDENCE, BySeed, Floats
from atlas.tables.level import LEVEL, attainable

EXACT = 14  # seeds: up to so many, all sign patterns are tried
DRAWN = 2**14  # sign patterns that are drawn for more seeds

POWER = 0.8
SIMULATED = 10  # seeds: up to so many the power of the test itself is simulated, beyond it is Student's
STUDIES = 2000
MOST_SEEDS = 10_000


def sign_flip(differences: BySeed) -> float:
    """Two-sided p-value of the sign-flip test for differences, one a seed.

    If the two arms were the same, each difference could as well have had the other sign: the p-value is the share of
    all 2^n sign patterns whose mean lies as far out (Fisher, The Design of Experiments, 1935, section 21). It cannot
    go below 2 / 2^n. Differences are fractions and compared as such, so that a tie is a tie, whatever they are thirds
    of. Beyond ``EXACT`` seeds, ``DRAWN`` patterns are drawn by name, that of the data among them (Phipson and Smyth,
    Permutation p-values should never be zero, 2010).
    """
    return step_down([differences])[0]


def step_down(family: Sequence[BySeed]) -> list[float]:
    """P-values of a family of comparisons, corrected for its size by the step-down maximum over joint sign flips.

    All comparisons have their signs flipped together, seed by seed, so that what they share (an arm, a hard seed) they
    share under every pattern. The p-value of the comparison that lies furthest out is the share of patterns under which
    any comparison lies as far out; it is then left out, and the next one is held against those that remain; none may
    fall below the one before (Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 2.8). So the
    smallest p-value stays 2 / 2^n in a family of any size, and the chance of one false finding stays at the level
    whichever comparisons differ in truth, where the differences of those that do not are as likely with all signs
    turned.

    How far out: |sum of d| / sqrt(sum of d^2), in which comparisons of any scale have the same variance (1) under the
    flips. Within a comparison it orders patterns as Student's t does (t^2 = (n - 1) z^2 / (n - z^2)), but is finite
    where all seeds differ by the same amount, and exact: squares of whole numbers are compared. A seed that some
    comparisons lack (it has no facts there) has its sign flipped for the others; differences that are all 0 compete
    with none.
    """
    seeds = sorted({seed for one in family for seed in one})
    signs = _signs(len(seeds))
    whole = [_whole([one.get(seed, Fraction(0)) for seed in seeds]) for one in family]
    squares = [sum(d * d for d in ones) for ones in whole]
    ranks = [Fraction(sum(ones) ** 2, square or 1) for ones, square in zip(whole, squares, strict=True)]
    sums = [_sums(signs, ones) for ones in whole]
    left = sorted((i for i in range(len(family)) if squares[i]), key=lambda i: -ranks[i])
    adjusted, floor = [1.0] * len(family), 0.0
    for at, i in enumerate(left):
        # z of j reaches that of i where |sum of j| is at least the root of this, rounded up, since sums are whole
        reach = {j: math.isqrt(max(0, math.ceil(ranks[i] * squares[j]) - 1)) + (ranks[i] > 0) for j in left[at:]}
        reached = np.any([sums[j] >= bound for j, bound in reach.items()], axis=0)
        adjusted[i] = floor = max(floor, float(reached.mean()))
    return adjusted


@lru_cache
def _signs(seeds: int) -> Floats:
    """Sign patterns, shape (patterns, seeds), the first of which flips nothing: all, or as many as are drawn.

    The tests have two sides, so of two patterns that are each other's opposite one is enough.
    """
    if seeds <= EXACT:
        flips = np.arange(2 ** max(0, seeds - 1))[:, None] >> np.arange(seeds) & 1
    else:
        flips = rng("joint sign flips", seeds).integers(0, 2, (DRAWN, seeds))
        flips[0] = 0
    return np.where(flips, -1.0, 1.0)


def _whole(differences: Sequence[Fraction]) -> list[int]:
    """The same in the ratio of whole numbers, as small as can be."""
    least = math.lcm(*(difference.denominator for difference in differences))
    numbers = [int(difference * least) for difference in differences]
    common = math.gcd(*numbers) or 1
    return [number // common for number in numbers]


def _sums(signs: Floats, whole: Sequence[int]) -> Floats:
    """Sums under every pattern, without sign: floats where they hold them exactly, else whole numbers of any size."""
    held = sum(map(abs, whole)) < 2**53
    sums: Floats = (
        signs @ np.array(whole, float) if held else signs.astype(int).astype(object) @ np.array(whole, object)
    )
    return np.abs(sums)


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

    ``a > b`` where the corrected p-value is below ``LEVEL`` and the whole interval lies above 0; ``b > a`` where it
    lies below 0; else ``unresolved``. ``best`` is the smallest p-value that was attainable.
    """
    if best >= LEVEL:
        return "unresolved", f"too few seeds: p cannot fall below {best:.3g}"
    if p_adjusted >= LEVEL:
        return "unresolved", f"p = {p_adjusted:.2g}, corrected for its family"
    if not (low > 0 or high < 0):
        return "unresolved", "the interval holds 0"
    return ("a > b" if diff > 0 else "b > a"), ""


@lru_cache
def smallest_difference(seeds: int, family: int = 1) -> float:
    """The difference that is found with 80% power, in standard deviations of one seed's difference.

    Found means p below ``LEVEL`` at the first and strictest step of ``step_down``, beside ``family`` - 1 comparisons
    that do not differ and share nothing with it. Few seeds give the test few p-values, which costs power; so up to
    ``SIMULATED`` seeds the power is that of the test itself over normal differences, and beyond it that of Student's
    paired test at the level over the size of the family (noncentral t; Cohen, Statistical Power Analysis, 1988, section
    2). NaN where no difference could be found.
    """
    if attainable(seeds) >= LEVEL:
        return float("nan")
    power = _step_down_power(seeds, family) if seeds <= SIMULATED else _student_power(seeds, LEVEL / family)
    return float(scipy.optimize.bisect(lambda size: power(size) - POWER, 0, 10, xtol=1e-3))


def _student_power(seeds: int, level: float) -> Callable[[float], float]:
    """Power of the two-sided paired t-test on the side of the difference, by the difference in standard deviations."""
    bound = scipy.special.stdtrit(seeds - 1, 1 - level / 2)
    return lambda size: float(scipy.stats.nct.sf(bound, seeds - 1, size * math.sqrt(seeds)))


def _step_down_power(seeds: int, family: int) -> Callable[[float], float]:
    """Power of the first step, over simulated studies of normal differences that are the same for every size."""
    signs = _signs(seeds).T
    drawn = rng("power", seeds, family).standard_normal((family, STUDIES, seeds))

    def far(differences: Floats) -> Floats:
        z: Floats = np.abs(differences @ signs) / np.sqrt((differences**2).sum(axis=1, keepdims=True))
        return z

    others = np.max([far(one) for one in drawn[1:]], axis=0) if family > 1 else np.zeros(1)

    def power(size: float) -> float:
        own = far(drawn[0] + size)
        p_values = (np.maximum(own, others) >= own[:, :1] - 1e-9).mean(axis=1)  # the first pattern flips nothing
        return float((p_values < LEVEL).mean())

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
