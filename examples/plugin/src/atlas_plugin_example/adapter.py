"""LoRA whose update is scaled by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732), times a factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from atlas.study.settings import Settings
from atlas.ttt.engine.adapter import AdapterSite, TrainableAdapter, uniform


class RankStabilisedSettings(Settings):
    """What `adapter:` of an arm may say."""

    factor: float = Field(1.0, gt=0, description="on top of alpha / sqrt(rank)")


class RankStabilised(TrainableAdapter):
    """What a lane adds is ``factor * alpha / sqrt(rank) * A B``."""

    settings_class: ClassVar[type[Settings]] = RankStabilisedSettings

    def __init__(self, site: AdapterSite, settings: RankStabilisedSettings) -> None:
        shapes = {"lora_A": (site.linear.in_features, site.rank), "lora_B": (site.rank, site.linear.out_features)}
        super().__init__(site, shapes, settings.factor * site.alpha / math.sqrt(site.rank))
        self.from_lora = self.scale * site.rank / site.alpha

    def initial(self, draw: np.random.Generator) -> Sequence[np.ndarray]:
        return uniform(draw, *self.shapes["lora_A"]), np.zeros(self.shapes["lora_B"])

    def update(self, parts: Sequence[Tensor]) -> Tensor:
        a, b = parts  # (lanes, in, rank), (lanes, rank, out)
        return self.scale * (a @ b)

    def as_lora(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        a, b = parts
        return a, self.from_lora * b
