"""Hierarchical bootstrap: seeds are drawn with replacement, then facts within each drawn seed.

The seed is the unit of replication: the estimate is the mean over seeds of each seed's mean, and a seed that is
drawn twice has its facts drawn twice, independently (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
Scores of facts take few values (0 and 1; thirds for a fact with three rephrases), so drawing n facts with
replacement is drawing how many of them have each value, a multinomial: exact, and no loop over facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from atlas.draws import rng

DRAWS = 2000
CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Scores of the facts of all seeds, counted."""

    tallies: Ints  # (seeds, levels): how many facts of a seed have each score
    levels: Floats  # (levels,): the scores

    @property
    def facts(self) -> Ints:
        """Facts by seed, shape (seeds,)."""
        counts: Ints = self.tallies.sum(axis=1)
        return counts

    @property
    def means(self) -> Floats:
        """Mean score by seed, shape (seeds,)."""
        return self.tallies @ self.levels / self.facts

    def where(self, keep: npt.NDArray[np.bool_]) -> Sample:
        """The seeds that a mask of shape (seeds,) keeps."""
        return Sample(self.tallies[keep], self.levels)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; both ends are NaN where the data cannot give any."""

    n_seeds: int
    n_facts: int  # of a seed: the mean, rounded
    n_tests: int  # of all seeds
    value: float
    ci_low: float
    ci_high: float


def estimate(sample: Sample, minus: Sample | None = None, draws: int = DRAWS) -> Estimate | None:
    """Estimate the mean of ``sample``, or its difference to ``minus`` (the same seeds, other facts).

    Seeds without any fact are left out; None where no seed is left. With one seed the interval says only how
    much the choice of facts matters.
    """
    keep = sample.facts > 0 if minus is None else (sample.facts > 0) & (minus.facts > 0)
    if not keep.any():
        return None
    sample, minus = sample.where(keep), minus and minus.where(keep)
    seeds = len(sample.tallies)
    weights = seed_weights(seeds, draws)
    generator = rng("bootstrap", "facts")
    resampled = _resampled(sample, weights, generator)
    value = sample.means.mean()
    if minus is not None:
        resampled, value = resampled - _resampled(minus, weights, generator), value - minus.means.mean()
    low, high = interval(resampled)
    return Estimate(seeds, round(sample.facts.mean()), int(sample.facts.sum()), float(value), low, high)


@lru_cache
def seed_weights(seeds: int, draws: int = DRAWS) -> Ints:
    """How often each seed is drawn, shape (draws, seeds). The same for all arms: the design is paired."""
    return rng("bootstrap", "seeds", seeds).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)


def _resampled(sample: Sample, weights: Ints, generator: np.random.Generator) -> Floats:
    """Means over the drawn seeds of resampled facts, shape (draws,).

    A seed drawn w times contributes w resamples of its n facts: one multinomial of w * n.
    """
    facts = sample.facts
    total = np.zeros(len(weights))
    for seed, tally in enumerate(sample.tallies):
        counts = generator.multinomial(weights[:, seed] * facts[seed], tally / facts[seed])  # (draws, levels)
        total += counts @ sample.levels / facts[seed]
    return total / len(sample.tallies)


def interval(resampled: Floats) -> tuple[float, float]:
    """The percentile interval of resampled estimates."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def seed_interval(values: Floats) -> tuple[float, float]:
    """Interval for the mean of one figure a seed, shape (seeds,); NaN where there is only one seed."""
    if len(values) < 2:
        return float("nan"), float("nan")
    return interval(seed_weights(len(values)) @ values / len(values))
