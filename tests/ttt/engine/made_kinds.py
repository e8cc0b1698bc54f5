"""Adapters as a plugin writes them: LoRA by its update alone, and one that no LoRA can be."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.ttt.engine.adapter import AdapterSite, TrainableAdapter, uniform


class ByItsUpdate(TrainableAdapter):
    """LoRA, of which the engine knows no more than what is added."""

    def __init__(self, site: AdapterSite, _settings: object = None) -> None:
        shapes = {"lora_A": (site.linear.in_features, site.rank), "lora_B": (site.rank, site.linear.out_features)}
        super().__init__(site, shapes, site.alpha / site.rank)

    def initial(self, draw: np.random.Generator) -> Sequence[np.ndarray]:
        return uniform(draw, *self.shapes["lora_A"]), np.zeros(self.shapes["lora_B"])

    def update(self, parts: Sequence[Tensor]) -> Tensor:
        a, b = parts
        return self.scale * (a @ b)


class Decomposed(TrainableAdapter):
    """Weight-decomposed LoRA (Liu et al. 2024, arXiv 2402.09353): a length and a direction for each output."""

    def __init__(self, site: AdapterSite, _settings: object = None) -> None:
        shapes = {
            "lora_A": (site.linear.in_features, site.rank),
            "lora_B": (site.rank, site.linear.out_features),
            "length": (1, site.linear.out_features),
        }
        super().__init__(site, shapes, site.alpha / site.rank)

    def initial(self, draw: np.random.Generator) -> Sequence[np.ndarray]:
        lengths = self.kernel.norm(dim=0, keepdim=True).cpu().numpy()
        return uniform(draw, *self.shapes["lora_A"]), np.zeros(self.shapes["lora_B"]), lengths

    def update(self, parts: Sequence[Tensor]) -> Tensor:
        a, b, length = parts
        moved = torch.baddbmm(self.kernel.expand(len(a), -1, -1), a, b, alpha=self.scale)  # (lanes, in, out)
        update: Tensor = moved * (length / moved.norm(dim=1, keepdim=True).detach()) - self.kernel
        return update
