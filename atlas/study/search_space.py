"""The search for recipes and editors' settings, typed: what is varied, on which seeds, how many survive each rung."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from atlas.draws import rng
from atlas.phrases import plural
from atlas.study.arm import Arm, Method
from atlas.study.editor_settings import BY_METHOD
from atlas.study.settings import Name, Positive, Seed, Settings, laid_over

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Sweep(Settings):
    """A recipe, or an editor's settings, and keys of it that are varied: a family of candidates."""

    methods: list[Method] = Field(
        ["lora", "finetune"], min_length=1, description="methods whose arms try these: of those that train, or editors"
    )
    recipe: dict[str, Any] = Field({}, description="what all candidates share, where methods train")
    editing: dict[str, Any] = Field({}, description="what all candidates share, where methods edit")
    vary: dict[str, list[Any]] = Field(
        {},
        description="key of the recipe or of editing, with dots (phases.slow.lr), to the values that it may have; all "
        "combinations",
    )
    most: Positive | None = Field(None, description="so many combinations, drawn at random; null: all")

    @field_validator("vary")
    @classmethod
    def _in_one_spelling(cls, vary: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Values as numbers where they are such: the draw among the combinations depends on them."""
        return {key: _plain(values) for key, values in vary.items()}

    @model_validator(mode="after")
    def _one_kind(self) -> Sweep:
        kinds = {method in BY_METHOD for method in self.methods}
        if len(kinds) > 1:
            raise ValueError(f"methods: {self.methods} has some that train and some that edit; make a sweep of each")
        other = "recipe" if self.edits else "editing"
        if getattr(self, other):
            raise ValueError(f"{other}: not of methods {self.methods}; write `{self.key}`")
        return self

    @property
    def edits(self) -> bool:
        """Whether its candidates are settings of editors."""
        return self.methods[0] in BY_METHOD

    @property
    def key(self) -> Literal["recipe", "editing"]:
        """Where an arm has what a candidate lays over it."""
        return "editing" if self.edits else "recipe"

    def candidates(self, name: str, arm: Arm) -> dict[str, Arm]:
        """An arm with each candidate laid over it, by the sweep's name, and a number where there are several."""
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


def _plain(value: Any) -> Any:
    """Numbers in one spelling: YAML reads 1e-3 as text, and 1.0 is 1."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [*map(_plain, value)]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Search(Settings):
    """Successive halving: every candidate is tried for few sessions, the better ones again for more.

    All arms get the same candidates, seeds and rungs, so each has the same budget.
    """

    arms: dict[Name, Arm] = Field(
        {}, description="what to find recipes or settings for; these need not be arms of the study"
    )
    seeds: list[Seed] = Field([901, 902], min_length=1, description="for tuning only: none of the study's seeds")
    sweeps: dict[Name, Sweep] = Field({}, description="families of candidates; without any there is no search")
    rungs: list[Positive] = Field([12, 40, 100], min_length=1, description="sessions of each rung")
    keep: float = Field(1 / 3, gt=0, le=1, description="share of a rung's candidates that the next rung tries")
    jobs: Positive = Field(2, description="jobs that an arm's rung is cut into")

    @field_validator("seeds")
    @classmethod
    def _in_order(cls, seeds: list[int]) -> list[int]:
        return sorted(set(seeds))

    @model_validator(mode="after")
    def _one_name_each(self) -> Search:
        """A sweep of several candidates numbers them, and another may be called like one of these."""
        for arm in self.arms:
            names = [name for key, sweep in self._sweeps_of(arm) for name in sweep.candidates(key, self.arms[arm])]
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"sweeps: two candidates would be called {twice[0]!r}; give a sweep another name")
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> Search:
        counts = {name: len(self.candidates(name)) for name in self.arms}
        if self.sweeps and len({*counts.values()}) > 1:
            least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
            raise ValueError(
                f"sweeps: arm {least!r} would try {plural(counts[least], 'candidate')}, {most!r} {counts[most]}; give "
                "each arm as many, so that all have the same budget"
            )
        return self

    def candidates(self, arm: str) -> dict[str, Arm]:
        """All candidates of an arm by name: the arm with its recipe or settings changed."""
        made = [sweep.candidates(name, self.arms[arm]) for name, sweep in self._sweeps_of(arm)]
        return {name: candidate for candidates in made for name, candidate in candidates.items()}

    def _sweeps_of(self, arm: str) -> list[tuple[str, Sweep]]:
        return [(name, sweep) for name, sweep in self.sweeps.items() if self.arms[arm].method in sweep.methods]

    def counts(self) -> list[int]:
        """How many candidates each rung tries, of every arm."""
        counts = [len(self.candidates(next(iter(self.arms))))]
        for _ in self.rungs[1:]:
            counts.append(max(1, round(counts[-1] * self.keep)))
        return counts
