"""Tests of paired differences over seeds: the sign-flip test, Holm's correction, an effect size, the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from atlas.draws import rng
from atlas.tables.intervals import Floats

LEVEL = 0.05
EXACT = 16  # seeds: up to so many, all 2^n sign patterns are tried


def sign_flip(differences: Floats) -> float:
    """Two-sided p-value of the sign-flip test for differences, one a seed, shape (seeds,).

    If the two arms were the same, each difference could as well have had the other sign: the p-value is the share of
    all 2^n sign patterns whose mean lies as far out (Fisher, The Design of Experiments, 1935, section 21). It cannot
    go below 2 / 2^n. Beyond ``EXACT`` seeds, 2^16 patterns are drawn.
    """
    if len(differences) < 2 or not differences.any():
        return 1.0
    result = stats.permutation_test(
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
