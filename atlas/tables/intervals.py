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

What no seed at hand shows, no interval can hold: where one seed in ten forgets all, eight seeds show none of that kind
in 43 of 100 studies, and agree. So a cell is marked (``few_seeds``) where fewer than half of its seeds carry the mean's
distance from 0 or 1, or none does: its interval speaks of seeds like these alone, and up to 1 - 0.05^(1/n) of all
seeds (31% for eight) may be of a kind that is not among them. How many carry it is Kish's effective number, the square
of the sum over the sum of squares of the seeds' distances from that end (Survey Sampling, 1965, section 11.7).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import scipy

from atlas.metrics import insist_comparable

CONFIDENCE = 0.95
Z = 1.959963984540054  # the normal quantile of this interval; to work it out would import scipy.special everywhere

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
BySeed = Mapping[int, Fraction]
"""Seed to its figure, exactly: equal means are equal, and differences of them are tied where they are."""

PARTS = 10**6


def as_fraction(score: float) -> Fraction:
    """The fraction that a score is: a mean over few prompts of a fact, or the difference of two. No other fraction of
    at most ``PARTS`` is as near as rounding (1e-16) can take it: they lie 1e-12 apart."""
    return Fraction(score).limit_denominator(PARTS)


@dataclass(frozen=True)
class Sample:
    """Scores of the facts of all seeds, counted."""

    tallies: Ints  # (seeds, levels): how many facts of a seed have each score
    levels: Floats  # (levels,): the scores
    signed: bool = False  # scores are differences, from -1 to 1; else from 0 to 1
    metric: str = ""  # what the scores are of
    seeds: tuple[int, ...] = ()  # whose tallies these are; numbered from 0 where none are named
    left_out: int = 0  # facts of all seeds that were asked, too, and have no score

    @property
    def facts(self) -> Ints:
        """Facts by seed, shape (seeds,)."""
        counts: Ints = self.tallies.sum(axis=1)
        return counts

    @cached_property
    def shares(self) -> BySeed:
        """Mean score by seed, of those that have facts."""
        scores = [as_fraction(float(level)) for level in self.levels]
        parts = math.lcm(*(score.denominator for score in scores))
        hits = self.tallies @ np.array([int(score * parts) for score in scores], object)
        named = zip(self.seeds or range(len(hits)), hits.tolist(), self.facts.tolist(), strict=True)
        return {seed: Fraction(hit, facts * parts) for seed, hit, facts in named if facts}

    @property
    def means(self) -> Floats:
        """The same, shape (seeds,)."""
        return as_floats(self.shares)

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
        seeds = self.seeds or range(len(keep))
        kept = tuple(seed for seed, there in zip(seeds, keep, strict=True) if there)
        return Sample(self.tallies[keep], self.levels, self.signed, self.metric, kept)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; both ends are NaN where the data cannot give any."""

    n_seeds: int
    n_facts: int  # of a seed: the mean, rounded
    n_tests: int  # of all seeds
    value: float
    ci_low: float
    ci_high: float
    exact: BySeed  # what the value is the mean of
    spread: float  # standard deviation of one seed's figure; not below what its facts alone give
    few_seeds: bool = False  # few seeds, or none, carry its distance from 0 or 1: it cannot speak of rarer ones
    left_out: int = 0  # facts of all seeds that were asked, too, and have no score

    @property
    def by_seed(self) -> Floats:
        """What the value is the mean of, shape (seeds,)."""
        return as_floats(self.exact)


def estimate(sample: Sample, minus: Sample | None = None) -> Estimate | None:
    """Estimate the mean of ``sample``, or its difference to ``minus`` (the same seeds, other facts).

    Seeds without any fact are left out; None where no seed is left. With one seed the interval says only how
    much the choice of facts matters. Raises AtlasError where the two are of metrics that are not comparable.
    """
    if minus and minus.metric != sample.metric:
        insist_comparable(sample.metric, minus.metric)
    left_out = sample.left_out
    keep = sample.facts > 0 if minus is None else (sample.facts > 0) & (minus.facts > 0)
    if not keep.any():
        return None
    sample, minus = sample.where(keep), minus and minus.where(keep)
    less = minus.shares if minus else {}
    exact = {seed: share - less.get(seed, 0) for seed, share in sample.shares.items()}
    by_seed = as_floats(exact)
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
    few = not sample.signed and any(carried_by_few(part.means) for part in (sample, minus) if part)
    return Estimate(len(by_seed), of_a_seed, of_all, value, low, high, exact, spread, few, left_out)


def carried_by_few(shares: Floats) -> bool:
    """Whether fewer than half of the seeds carry the distance of their mean share from the nearer of 0 and 1."""
    away = shares if shares.mean() < 0.5 else 1 - shares
    return bool(away.sum() ** 2 < len(away) / 2 * (away**2).sum() or not away.any())


def as_floats(by_seed: BySeed) -> Floats:
    """The figures of the seeds, shape (seeds,)."""
    return np.array([float(figure) for figure in by_seed.values()])


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
