"""Which arms of a study make a full factorial: every combination of recipe, placement and size of the adapter.

No pandas here, nor anything else that is slow to import: the rules ask, too. Nor the study, so that the table of
variance does not depend on all that a study can say.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FACTORS = ("recipe", "place", "size")
FEWEST = (2, 2, 1)  # levels of each factor: where no two sizes are crossed, recipe and place are, at one
FEWEST_SEEDS = 3  # the jackknife of the table of variance leaves one out
ALIKE = 0.1  # sizes that differ by less are one level

Combination = tuple[str, ...]  # a level of each factor


@dataclass(frozen=True)
class Levels:
    """Where an arm stands in each factor."""

    recipe: str  # preset
    place: str  # targets
    parameters: int


@dataclass(frozen=True)
class Design:
    """A full factorial: levels of each factor, and the arm of every combination."""

    levels: tuple[Combination, ...]
    arms: dict[Combination, str]

    @property
    def factors(self) -> list[str]:
        """The factors that are varied."""
        return [name for name, axis in zip(FACTORS, self.levels, strict=True) if len(axis) > 1]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many levels each of these has."""
        return tuple(len(axis) for axis in self.levels if len(axis) > 1)

    def __str__(self) -> str:
        return "; ".join(f"{name}: {', '.join(axis)}" for name, axis in zip(FACTORS, self.levels, strict=True))


def design(arms: Mapping[str, Levels]) -> Design | None:
    """The largest full factorial of at least ``FEWEST`` levels of each factor; None where there is none.

    Of several arms with the same levels the first one stands for them.
    """
    places = _with_sizes(arms)
    axes = [sorted({combination[i] for combination in places}) for i in range(len(FACTORS))]
    options = [
        [some for count in range(fewest, len(axis) + 1) for some in itertools.combinations(axis, count)]
        for axis, fewest in zip(axes, FEWEST, strict=True)
    ]
    found: list[Design] = []
    for chosen in itertools.product(*options):
        combinations = list(itertools.product(*chosen))
        if all(one in places for one in combinations):
            found.append(Design(chosen, {one: places[one] for one in combinations}))
    return max(found, key=lambda one: len(one.arms), default=None)


def place_name(targets: Iterable[str]) -> str:
    """Targets in one order, as a level."""
    return "+".join(sorted(targets))


def _with_sizes(arms: Mapping[str, Levels]) -> dict[Combination, str]:
    """Arms by their levels; sizes that are alike under the name of the smallest of them, in thousands."""
    names: dict[int, str] = {}
    first = 0
    for size in sorted({one.parameters for one in arms.values()}):
        first = size if not first or size > first * (1 + ALIKE) else first
        names[size] = f"{first / 1000:.0f} thousand parameters"
    backwards = list(arms.items())[::-1]
    return {(one.recipe, one.place, names[one.parameters]): arm for arm, one in backwards}
