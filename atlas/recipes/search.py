"""The search for recipes, typed: what is varied, on which seeds, and how many survive each rung."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from atlas.draws import rng
from atlas.sections import Name, Place, Positive, Section, laid_over


class Sweep(Section):
    """A recipe, and keys of it that are varied: a family of candidates."""

    recipe: dict[str, Any] = Field({}, description="what all candidates share")
    vary: dict[str, list[Any]] = Field(
        {},
        description="key of the recipe, with dots (phases.slow.lr), to the values that it may have; all combinations",
    )
    most: Positive | None = Field(None, description="so many combinations, drawn at random; null: all")

    def candidates(self, name: str) -> dict[str, dict[str, Any]]:
        """Recipes by name: the sweep's, and a number where there are several."""
        made = [laid_over(self.recipe, changes) for changes in self._changes(name)]
        return {f"{name}_{i}" if len(made) > 1 else name: recipe for i, recipe in enumerate(made)}

    def _changes(self, name: str) -> Iterator[dict[str, Any]]:
        combinations = list(itertools.product(*self.vary.values()))
        count = min(self.most or len(combinations), len(combinations))
        chosen = sorted(rng("search", name, json.dumps(self.vary)).permutation(len(combinations))[:count])
        for values in (combinations[i] for i in chosen):
            changes: dict[str, Any] = {}
            for key, value in zip(self.vary, values, strict=True):
                changes = laid_over(changes, _nested(key.split("."), value))
            yield changes


class Search(Section):
    """Successive halving: every candidate is tried for few sessions, the better ones again for more.

    All arms get the same candidates, seeds and rungs, so each has the same budget.
    """

    arms: dict[Name, Place] = Field(
        {}, description="placements to find recipes for; they need not be arms of the study"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [901, 902], min_length=1, description="for tuning only: none of the study's seeds"
    )
    sweeps: dict[Name, Sweep] = Field({}, description="families of candidates; without any there is no search")
    rungs: list[Positive] = Field([12, 40, 100], min_length=1, description="sessions of each rung")
    keep: float = Field(1 / 3, gt=0, le=1, description="share of a rung's candidates that the next rung tries")
    jobs: Positive = Field(2, description="jobs that an arm's rung is cut into")

    @property
    def candidates(self) -> dict[str, dict[str, Any]]:
        """All candidates by name, as recipes."""
        return {name: recipe for key, sweep in self.sweeps.items() for name, recipe in sweep.candidates(key).items()}

    def counts(self) -> list[int]:
        """How many candidates each rung tries."""
        counts = [len(self.candidates)]
        for _ in self.rungs[1:]:
            counts.append(max(1, round(counts[-1] * self.keep)))
        return counts


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    return {path[0]: value if len(path) == 1 else _nested(path[1:], value)}
