"""How a family of comparisons is corrected: how often the step-down maximum over joint sign flips finds what is not
there, and how often what is, beside Holm's correction of the same tests.

``python -m benchmarks.families`` writes docs/families.md (a quarter of a minute).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy import special

from atlas.draws import rng
from atlas.tables.inference import sign_flip, step_down
from atlas.tables.intervals import BySeed
from atlas.tables.level import LEVEL
from atlas.workflow import files

FACTS = 90
STUDIES = 2000


@dataclass(frozen=True)
class Family:
    """Arms with their recall, and which of them are compared; arms of one seed share its luck."""

    name: str
    recall: tuple[float, ...]
    pairs: tuple[tuple[int, int], ...]
    shared: float = 0.3  # standard deviation of the log odds between seeds
    apart: float = 0.3  # and between arms within a seed

    @property
    def differ(self) -> list[bool]:
        """Which pairs differ in truth."""
        return [self.recall[a] != self.recall[b] for a, b in self.pairs]


def against_first(arms: int) -> tuple[tuple[int, int], ...]:
    """Each of the other arms against the first."""
    return tuple((0, arm) for arm in range(1, arms))


RIVALS = ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (6, 3), (2, 7), (3, 5), (3, 4))
FAMILIES = (
    Family("six pairs that share an arm, none differs", (0.3,) * 7, against_first(7)),
    Family("the same near 0", (0.02,) * 7, against_first(7)),
    Family("two of six differ, by 10 points", (0.3, 0.3, 0.4, 0.3, 0.4, 0.3, 0.3), against_first(7)),
    Family("all of six differ, by 10 points", (0.3, *(0.4,) * 6), against_first(7)),
    Family("nine pairs as of the baselines: five of 97 against 0%", (0.97, *(0.002,) * 7), RIVALS),
    Family("one of nine differs, by 10 points", (0.3, *(0.3,) * 8, 0.4), against_first(10)),
)


@dataclass(frozen=True)
class Rates:
    """Shares of studies with any wrong finding, and of comparisons that differ and are found."""

    wrong: float
    found: float


def studies(family: Family, seeds: int, number: int) -> Iterator[list[BySeed]]:
    """Simulated studies: the differences of every pair."""
    draws = rng("families", family.name, seeds)
    centres = special.logit(np.array(family.recall))[:, None]
    for _ in range(number):
        luck = family.shared * draws.standard_normal(seeds) + family.apart * draws.standard_normal(
            (len(centres), seeds)
        )
        hits = draws.binomial(FACTS, special.expit(centres + luck)).tolist()
        yield [{seed: Fraction(hits[a][seed] - hits[b][seed], FACTS) for seed in range(seeds)} for a, b in family.pairs]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (A simple sequentially rejective multiple test procedure, 1979)."""
    order = np.argsort(p_values, kind="stable")
    raised = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1))
    return [float(p) for p in np.minimum(1, raised[np.argsort(order, kind="stable")])]


def rates(family: Family, seeds: int = 8, number: int = STUDIES) -> tuple[Rates, Rates]:
    """Of the step-down maximum and of Holm's correction."""
    differ = np.array(family.differ)
    found = np.array(
        [[step_down(pairs), holm([sign_flip(pair) for pair in pairs])] for pairs in studies(family, seeds, number)]
    )
    below = found < LEVEL  # (studies, 2, pairs)

    def of(one: int) -> Rates:
        right = below[:, one, differ].mean() if differ.any() else float("nan")
        return Rates(float(below[:, one, ~differ].any(axis=1).mean()), float(right))

    return of(0), of(1)


HEAD = f"""\
# How a family of comparisons is corrected, by simulation

Written by `python -m benchmarks.families`: {STUDIES:,} studies of eight seeds of each family, of recall over {FACTS}
facts that differs between seeds, and between arms within a seed; each pair stands for a planned comparison. A wrong
finding is p below {LEVEL} of any pair that does not differ in truth: at most that share of studies may have one. Found
is the share of pairs that differ and have p below {LEVEL}. See [statistics](statistics.md#tests) for the correction.

| Family | Wrong finding: step-down maximum | Holm | Found: step-down maximum | Holm |
| --- | ---: | ---: | ---: | ---: |
"""


def main() -> None:
    """Write the page."""
    lines = []
    for family in FAMILIES:
        both = rates(family)
        found = [f"{one.found:.1%}" if any(family.differ) else "" for one in both]
        lines.append(" | ".join([family.name, *(f"{one.wrong:.1%}" for one in both), *found]))
    files.write_text(Path("docs/families.md"), HEAD + "".join(f"| {line} |\n" for line in lines))


if __name__ == "__main__":
    main()
