"""The search for recipes and editors' settings, typed: what is varied, on which seeds, how many survive each rung."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from atlas.draws import rng
from atlas.phrases import listed, plural
from atlas.study.arm import Arm
from atlas.study.methods import Method, edits, known
from atlas.study.settings import Count, Name, Positive, Rate, Seed, Settings, laid_over

FEWEST = 3  # seeds, rates of a grid, candidates of the last rung
FINEST = 1.05  # least factor from one rate to the next: of closer ones no seeds could tell which is better
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Sweep(Settings):
    """A recipe, or an editor's settings, and what is varied of it: rates, other keys, or both in all combinations."""

    methods: list[Method] = Field(
        ["lora", "finetune"], min_length=1, description="methods whose arms try these: of those that train, or editors"
    )
    recipe: dict[str, Any] = Field({}, description="what all candidates share, where methods train")
    editing: dict[str, Any] = Field({}, description="what all candidates share, where methods edit")
    rates: list[Rate] = Field(
        [],
        description="a grid of learning rates, rising: of the recipe's first phase; those of the others keep their "
        "proportion to it. Closing rounds go on beyond its ends by the same factors. None: the recipe's own rate alone",
    )
    vary: dict[str, list[Any]] = Field(
        {},
        description="key of the recipe or of editing, with dots (phases.slow.steps), to the values that it may have; "
        "all combinations",
    )
    most: Positive | None = Field(
        None, description="so many combinations of `vary`, drawn at random; null: all. Each is tried at all rates"
    )

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        return [*map(known, methods)]

    @field_validator("vary")
    @classmethod
    def _in_one_spelling(cls, vary: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Values as numbers where they are such: the draw among the combinations depends on them."""
        return {key: plain(values) for key, values in vary.items()}

    def problems(self) -> Iterator[str]:
        """What does not go together, each in a line that starts with its key."""
        if len({*map(edits, self.methods)}) > 1:
            yield f"methods: {self.methods} has some that train and some that edit; make a sweep of each"
            return
        other = "recipe" if self.edits else "editing"
        if getattr(self, other):
            yield f"{other}: not of methods {self.methods}; write `{self.key}`"
        if self.edits and self.rates:
            yield f"rates: found {listed(self.rates)}, but methods {self.methods} train nothing; leave the key out"
        elif self.rates and (
            len(self.rates) < FEWEST or any(high < FINEST * low for low, high in itertools.pairwise(self.rates))
        ):
            yield (
                f"rates: found {listed(f'{rate:g}' for rate in self.rates)}, expected at least {FEWEST}, each at least "
                f"{FINEST - 1:.0%} above the one before; the best of them is to lie between two others"
            )

    @property
    def edits(self) -> bool:
        """Whether its candidates are settings of editors."""
        return edits(self.methods[0])

    @property
    def key(self) -> Literal["recipe", "editing"]:
        """Where an arm has what a candidate lays over it."""
        return "editing" if self.edits else "recipe"

    def settings(self, name: str, arm: Arm) -> dict[str, Arm]:
        """An arm with each combination laid over it, by the sweep's name, and a number where there are several."""
        shared = laid_over(getattr(arm, self.key), getattr(self, self.key))
        made = [arm.model_copy(update={self.key: laid_over(shared, changes)}) for changes in self._changes(name)]
        return {f"{name}_{i}" if len(made) > 1 else name: candidate for i, candidate in enumerate(made)}

    def _changes(self, name: str) -> Iterator[dict[str, Any]]:
        combinations = list(itertools.product(*self.vary.values()))
        count = min(self.most or len(combinations), len(combinations))
        chosen = sorted(rng("search", name, json.dumps(self.vary)).permutation(len(combinations))[:count])
        for values in (combinations[i] for i in chosen):
            changes: dict[str, Any] = {}
            for key, value in zip(self.vary, values, strict=True):
                for part in reversed(key.split(".")):
                    value = {part: value}
                changes = laid_over(changes, value)
            yield changes


def plain(value: Any) -> Any:
    """Numbers in one spelling: YAML reads 1e-3 as text, and 1.0 is 1."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [*map(plain, value)]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Search(Settings):
    """Successive halving, then closing rounds. Every candidate is tried for few sessions, the better ones again for
    more; then the neighbours of the best one on its grid of learning rates as long, until none is better.

    All arms get as many candidates, and the same seeds and rungs, so each has the same budget.
    """

    arms: dict[Name, Arm] = Field(
        {}, description="what to find recipes or settings for; these need not be arms of the study"
    )
    seeds: list[Seed] = Field([901, 902, 903], description="for tuning only: none of the study's seeds; at least three")
    sweeps: dict[Name, Sweep] = Field({}, description="the candidates; without any there is no search")
    rungs: list[Positive] = Field([30, 100], min_length=1, description="sessions of each rung")
    keep: float = Field(
        0.6, gt=0, le=1, description="share of a rung's candidates that the next rung tries; three must be left"
    )
    rounds: Count = Field(
        4, description="closing rounds at most, of as many sessions as the last rung; only where there are `rates`"
    )
    jobs: Positive = Field(2, description="jobs that an arm's rung is cut into")

    @field_validator("seeds")
    @classmethod
    def _in_order(cls, seeds: list[int]) -> list[int]:
        return sorted(set(seeds))

    def problems(self) -> Iterator[str]:
        """What does not go together, each in a line that starts with its key."""
        if not self.arms:
            yield "arms: none, so nothing would be searched for; name an arm"
        if len(self.seeds) < FEWEST:
            yield (
                f"seeds: found {listed(self.seeds or ['none'])}, expected at least {FEWEST}; name more, since on "
                "fewer a candidate is often the best by chance"
            )
        for name, sweep in self.sweeps.items():
            yield from (f"sweeps.{name}.{problem}" for problem in sweep.problems())
        for arm in self.arms:
            names = [name for key, sweep in self._sweeps_of(arm) for name in sweep.settings(key, self.arms[arm])]
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                yield f"sweeps: two candidates would be called {twice[0]!r}; give a sweep another name"
                break
        counts = {arm: self._count(arm) for arm in self.arms}
        if len({*counts.values()}) > 1:
            least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
            yield (
                f"sweeps: arm {least!r} would try {plural(counts[least], 'candidate')}, {most!r} {counts[most]}; give "
                "each arm as many, so that all have the same budget"
            )
        if counts and self.counts()[0] < FEWEST:
            yield (
                f"sweeps: found {plural(self.counts()[0], 'candidate')} of an arm, expected at least {FEWEST}, so that "
                "the best is the best of something; give `rates`, or values to `vary`"
            )
        elif counts and self.counts()[-1] < FEWEST:
            yield (
                f"keep: {self.keep:g} leaves {plural(self.counts()[-1], 'candidate')} of {self.counts()[0]} to the "
                f"last rung, expected at least {FEWEST}, so that who is ahead early is not chosen unchallenged; raise "
                "it, or add candidates"
            )

    def settings(self, arm: str) -> dict[str, tuple[Arm, list[float]]]:
        """All candidates of an arm by name, but for their rates: the arm with its recipe or settings changed, and the
        rates that it is tried at (none: its own)."""
        return {
            name: (made, sweep.rates)
            for key, sweep in self._sweeps_of(arm)
            for name, made in sweep.settings(key, self.arms[arm]).items()
        }

    def _sweeps_of(self, arm: str) -> list[tuple[str, Sweep]]:
        return [(name, sweep) for name, sweep in self.sweeps.items() if self.arms[arm].method in sweep.methods]

    def _count(self, arm: str) -> int:
        return sum(max(1, len(rates)) for _, rates in self.settings(arm).values())

    def counts(self) -> list[int]:
        """How many candidates each rung tries, of every arm; closing rounds are not rungs."""
        counts = [min(map(self._count, self.arms))]
        for _ in self.rungs[1:]:
            counts.append(max(1, round(counts[-1] * self.keep)))
        return counts

    def lengths(self, arm: str) -> list[int]:
        """Sessions of each rung of an arm and, behind these, of each closing round."""
        closing = self.rounds if any(rates for _, rates in self.settings(arm).values()) else 0
        return self.rungs + self.rungs[-1:] * closing

    def jobs_of(self, rung: int) -> int:
        """Jobs that a rung is cut into: a closing round has two candidates at most."""
        return self.jobs if rung < len(self.rungs) else min(self.jobs, 2)
