"""The weights under the adapters: put back to a fresh start where an arm declares it, and watched over a run.

Nothing here trusts a declaration. What differs from the certified base is found by comparing every tensor in memory
with the manifest, before the first step and after the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from atlas.base.language import LanguageModel
from atlas.base.model import initialise
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.tensors import fingerprint, sha256_of
from atlas.study.settings import Role
from atlas.ttt.engine.lanes import base_weights, chosen
from atlas.ttt.run_files import Frozen


def reinitialise(model: LanguageModel, roles: Sequence[Role], base_seed: int, seeds: Sequence[int]) -> list[str]:
    """Put the linear layers of some roles back to a fresh initialisation, as a loader that skips them would.

    Returns the names of the tensors, sorted. Each block of ``seeds`` has a draw of its own, keyed by its first one: all
    lanes share one frozen base, and arms that are taught to the same block share it, too.
    """
    found = chosen(model, roles)
    generator = torch.Generator().manual_seed(int(rng(base_seed, "reinit", seeds[0]).integers(2**62)))
    for site in found:
        initialise(site.linear, generator)
    return sorted(f"{site.path}.{name}" for site in found for name in site.linear.state_dict())


class Watch:
    """Compares the frozen weights of a model with the certified base, and with themselves at the end of a run.

    Args:
        model: the model, certified weights loaded, any declared reinit done.
        certified: SHA-256 per tensor of the certified base, from its manifest.
        declared: names of the tensors that the arm changes on purpose.
    """

    def __init__(self, model: nn.Module, certified: Mapping[str, str], declared: Sequence[str]) -> None:
        self.model, self.declared = model, list(declared)
        weights = base_weights(model)
        self.at_start = fingerprint(weights)
        found = {name: sha256_of(tensor) for name, tensor in weights.items()}
        self.changed = sorted(n for n in found.keys() | certified.keys() if found.get(n) != certified.get(n))
        if odd := sorted({*self.changed} ^ {*self.declared}):
            how = "differs from the certified base" if odd[0] in self.changed else "is still the certified base's"
            raise AtlasError(f"{odd[0]}: {how}; the arm declares {', '.join(self.declared) or 'no reinit'}")

    def close(self) -> Frozen:
        """The record of a whole run. Raises AtlasError where a frozen weight moved."""
        at_end = fingerprint(base_weights(self.model))
        if at_end != self.at_start:
            raise AtlasError(
                f"frozen weights: fingerprint {self.at_start} before the run, {at_end} after it; something trained "
                "the base, so nothing of this run is kept; please report it"
            )
        return Frozen(at_start=self.at_start, at_end=at_end, declared=self.declared, changed=self.changed)
