"""Intervals for means over seeds and facts, from the two levels of the hierarchical bootstrap.

The seed is the unit of replication: an estimate is the mean over seeds of each seed's mean. Drawing seeds with
replacement, then facts within each drawn seed (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8), the variance
of a mean needs no draws: the level of the seeds adds (1 - 1/n) s^2 / n, the level of the facts adds the mean variance
of a seed's own mean, over n. With 4 to 16 seeds the percentile interval of such draws is too short (Hesterberg, What
Teachers Should Know About the Bootstrap, 2015, section 4), so each level is used in the form that holds for few:

- seeds: s^2 / n without the bootstrap's (1 - 1/n), and Student's quantile with n - 1 degrees of freedom;
- facts: as if all facts of all seeds were independent, and the normal quantile. This is the least that an interval can
  be, and what is left of it where all seeds agree.

The wider of the two levels makes the interval. A mean of scores from 0 to 1 gets Wilson's interval for the number of
facts that would give this width (Korn and Graubard, Confidence intervals for proportions with small expected number of
positive counts, 1998): it stays between 0 and 1 and has a width at 0 of n and n of n. A difference gets a symmetric
interval whose facts level counts z^2 / 2, about two, facts more, half of them at the ends (Agresti and Min, Simple
improved confidence intervals for comparing matched proportions, 2005; Agresti and Caffo, 2000, for facts that are not
matched), for the same reason. The tests measure by simulation how often these intervals hold the truth.

Facts count as drawn anew for every seed; those that several seeds share (all placebo facts are) stand for themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy

from atlas.metrics import insist_comparable

CONFIDENCE = 0.95
Z = 1.959963984540054  # the normal quantile of this interval; to work it out would import scipy.special everywhere

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Scores of the facts of all seeds, counted."""

    tallies: Ints  # (seeds, levels): how many facts of a seed have each score
    levels: Floats  # (levels,): the scores
    signed: bool = False  # scores are differences, from -1 to 1; else from 0 to 1
    metric: str = ""  # what the scores are of

    @property
    def facts(self) -> Ints:
        """Facts by seed, shape (seeds,)."""
        counts: Ints = self.tallies.sum(axis=1)
        return counts

    @property
    def means(self) -> Floats:
        """Mean score by seed, shape (seeds,)."""
        return self.tallies @ self.levels / self.facts

    @property
    def tests(self) -> float:
        """Facts that count: of all seeds where each has as many, fewer where some seeds have few."""
        return float(len(self.tallies) ** 2 / (1 / self.facts).sum())

    @property
    def facts_variance(self) -> float:
        """Variance of the mean over seeds if all facts were independent, with z^2 / 2 facts more, half at the ends."""
        n, more = self.tests, Z**2 / 2
        squares = float((self.tallies @ self.levels**2 / self.facts).mean())
        mean = (n * self.means.mean() + (0 if self.signed else more / 2)) / (n + more)
        return float(((n * squares + more / 2) / (n + more) - mean**2) / (n + more))

    def where(self, keep: npt.NDArray[np.bool_]) -> Sample:
        """The seeds that a mask of shape (seeds,) keeps."""
        return Sample(self.tallies[keep], self.levels, self.signed, self.metric)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; both ends are NaN where the data cannot give any."""

    n_seeds: int
    n_facts: int  # of a seed: the mean, rounded
    n_tests: int  # of all seeds
    value: float
    ci_low: float
    ci_high: float
    by_seed: Floats  # (seeds,): what the value is the mean of
    spread: float  # standard deviation of one seed's figure; not below what its facts alone give


def estimate(sample: Sample, minus: Sample | None = None) -> Estimate | None:
    """Estimate the mean of ``sample``, or its difference to ``minus`` (the same seeds, other facts).

    Seeds without any fact are left out; None where no seed is left. With one seed the interval says only how
    much the choice of facts matters. Raises AtlasError where the two are of metrics that are not comparable.
    """
    if minus and minus.metric != sample.metric:
        insist_comparable(sample.metric, minus.metric)
    keep = sample.facts > 0 if minus is None else (sample.facts > 0) & (minus.facts > 0)
    if not keep.any():
        return None
    sample, minus = sample.where(keep), minus and minus.where(keep)
    by_seed = sample.means - (minus.means if minus else 0)
    facts = sample.facts_variance + (minus.facts_variance if minus else 0)
    spread = math.sqrt(max(_variance(by_seed), len(by_seed) * facts))
    value, from_seeds = float(by_seed.mean()), seeds_half_width(by_seed)
    if minus is None and not sample.signed:
        # so many independent facts give a share the width that its seeds give it; at most those that were tested
        tests = sample.tests
        low, high = wilson(value, min(tests, Z**2 * value * (1 - value) / from_seeds**2) if from_seeds else tests)
    else:
        half, limit = max(from_seeds, Z * math.sqrt(facts)), 2 if minus and sample.signed else 1
        low, high = max(value - half, -limit), min(value + half, limit)  # a difference cannot leave the limits
    of_a_seed, of_all = round(sample.facts.mean()), int(sample.facts.sum())
    return Estimate(len(by_seed), of_a_seed, of_all, value, low, high, by_seed, spread)


def _variance(by_seed: Floats) -> float:
    return float(by_seed.var(ddof=1)) if len(by_seed) > 1 else 0.0


def seeds_half_width(by_seed: Floats) -> float:
    """Half the width of Student's interval for the mean of one figure a seed; 0 where one seed cannot tell."""
    n = len(by_seed)
    if n < 2:
        return 0.0
    return student(n - 1) * math.sqrt(_variance(by_seed) / n)


@lru_cache
def student(freedom: int) -> float:
    """Student's quantile of a two-sided interval."""
    return float(scipy.special.stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2))


def wilson(share: float, tests: float) -> tuple[float, float]:
    """Wilson's score interval of a share (0 to 1) of ``tests`` independent tests, which need not be a whole number."""
    centre = share + Z**2 / (2 * tests)
    half = Z * math.sqrt(share * (1 - share) / tests + Z**2 / (4 * tests**2))
    low, high = (centre - half) / (1 + Z**2 / tests), (centre + half) / (1 + Z**2 / tests)
    return min(max(0.0, low), share), max(min(1.0, high), share)


def seed_interval(values: Floats) -> tuple[float, float]:
    """Student's interval for the mean of one figure a seed, shape (seeds,); NaN where there is only one seed."""
    if len(values) < 2:
        return float("nan"), float("nan")
    mean, half = float(values.mean()), seeds_half_width(values)
    return mean - half, mean + half
