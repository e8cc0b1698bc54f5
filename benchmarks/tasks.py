"""What is computed: training steps and sessions over facts of the pool, for the arms of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.base.model import fresh, opt_config
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool.facts import TAUGHT, Fact
from atlas.study.arm import Arm
from atlas.study.config import Study
from atlas.study.jobs import Precision
from atlas.study.recipes import Phase, Recipe
from atlas.ttt.engine.lanes import compute_in
from atlas.ttt.engine.lines import Line, line
from atlas.ttt.engine.lora import Adapters

Work = Literal["step", "session"]

NOISE = 0.01  # added to fresh adapters, so that both matrices of each matter from the first step on
CPU = torch.device("cpu")
SAMPLED_FACTS = 96  # a sample has at least so many, in several steps where one has fewer: the clock is not all


@dataclass(frozen=True)
class Setting:
    """One comparison. ``facts`` are those of one lane: of a batch, or of a session with its rehearsed ones."""

    work: Work
    arm: str
    lanes: int
    facts: int

    @property
    def steps(self) -> int:
        """Training steps in a sample of the work ``step``."""
        return max(1, SAMPLED_FACTS // (self.lanes * self.facts))

    def __str__(self) -> str:
        return f"{self.work} of {self.arm}, {self.lanes} x {self.facts} facts"


@dataclass(frozen=True)
class Task:
    """A setting with all that it needs: the same for every engine.

    Attributes:
        weights: of the base; None: a fresh initialisation.
        lines: the facts of each lane.
        dtype: of all numbers. What is timed is float32; results are compared in float64, since Adam's first steps go
            by the sign of a gradient, however small, and so let rounding of float32 grow a hundredfold in four steps.
        device: where it is done.
        precision: of Atlas's products with the base's matrices; PEFT's are of ``dtype``.
        text: token ids of the base's own text, unsigned (tokens,), for recipes that train it, too.
    """

    setting: Setting
    study: Study
    weights: dict[str, Tensor] | None
    lines: list[list[Line]]
    dtype: torch.dtype = torch.float32
    device: torch.device = CPU
    precision: Precision = "float32"
    text: np.ndarray | None = None

    def exact(self) -> Task:
        """The same task in float64."""
        return replace(self, dtype=torch.float64, precision="float32")

    def in_precision(self, precision: Precision) -> Task:
        """The same task with Atlas's products in a precision."""
        return replace(self, precision=precision)

    @property
    def arm(self) -> Arm:
        return self.study.arm(self.setting.arm)

    @property
    def rank(self) -> int:
        """The rank of all layers. AtlasError where layers differ, which PEFT's plain configuration cannot have."""
        if not isinstance(self.arm.ranks, int):
            raise AtlasError(
                f"arms.{self.setting.arm}: ranks {self.arm.ranks}; choose arms with one rank for all layers"
            )
        return self.arm.ranks

    @property
    def recipe(self) -> Recipe:
        return self.study.recipe_of(self.setting.arm)

    @property
    def lr(self) -> float:
        """The rate of steps: that of the recipe's first phase."""
        return next(iter(self.recipe.active.values())).lr

    def steps(self, count: int) -> Phase:
        """A phase of so many steps on all facts at once."""
        return Phase(steps=count, lr=self.lr)

    @property
    def new(self) -> int:
        """How many of a session's facts are new, the last ones; the others are rehearsed."""
        return self.study.facts_per_session

    @property
    def config(self) -> dict[str, Any]:
        """The base's shape as a config of transformers."""
        return opt_config(self.study.base.own)

    def model(self) -> LanguageModel:
        """The base, in a copy of its own."""
        model = fresh(self.study.base.own, self.study.base.seed)
        if self.weights is not None:
            model.load_state_dict(self.weights, strict=True)
        return self.placed(model)

    def placed(self, model: LanguageModel) -> LanguageModel:
        """A model on the task's device, computing in its precision."""
        model = model.to(self.device, self.dtype).eval()
        compute_in(model, self.precision)
        return model

    @cached_property
    def theta(self) -> Tensor:
        """The adapters to start from, (lanes, parameters)."""
        adapters = Adapters.attach(self.model(), self.arm.targets, [self.rank] * self.layers, self.study.alpha)
        theta = adapters.initial(self.study.base.seed, range(self.setting.lanes))
        noise = rng("benchmarks", "theta").standard_normal(theta.shape).astype(np.float32)
        return theta.add_(torch.from_numpy(noise), alpha=NOISE).to(self.device, self.dtype)

    @property
    def layers(self) -> int:
        return self.study.base.own.layers

    def draw(self, lane: int, purpose: str) -> np.random.Generator:
        """A fresh generator for a lane of a session."""
        return rng("benchmarks", lane, purpose)


def task(setting: Setting, study: Study, facts: Sequence[Fact], weights: dict[str, Tensor] | None) -> Task:
    """Draw the facts of a setting; all arms share them. AtlasError where the pool has too few."""
    taught = [fact for fact in facts if fact.role == TAUGHT]
    needed = setting.lanes * setting.facts
    if needed > len(taught):
        raise AtlasError(f"{setting}: {needed} facts, the pool has {len(taught)}; choose fewer lanes or facts")
    picked = rng("benchmarks", setting.lanes, setting.facts).permutation(len(taught))[:needed]
    lines = [line(taught[i].prompt, taught[i].answer, taught[i].fact_id) for i in picked]
    lanes = [lines[start : start + setting.facts] for start in range(0, needed, setting.facts)]
    return Task(setting, study, weights, lanes)
