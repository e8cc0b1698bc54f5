"""Edited matrices: every lane has its own copy of a few matrices over one shared base.

All that editors changed, of all lanes, is one tensor ``theta``, shape (lanes, parameters): what was added to the base's
matrices. So whatever scores, probes and saves adapters does so with edits, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atlas.base.attention import Packed
from atlas.errors import AtlasError
from atlas.ttt.lines import Batch
from atlas.ttt.lora import LaneLinear, Lanes
from atlas.ttt.roles import OPT, RoleMap, Site, sites


@dataclass(frozen=True)
class Slot:
    """Where the edits of one matrix lie in ``theta``."""

    site: Site
    module: LaneLinear
    width_in: int
    width_out: int


class Edits:
    """The edited matrices of a model: the `down` matrices of some layers. ``Adapters`` in all that a run asks of it."""

    def __init__(self, model: nn.Module, slots: Sequence[Slot], lanes: Lanes, roles: RoleMap) -> None:
        self.model, self.slots, self.lanes, self.roles = model, tuple(slots), lanes, roles
        self._sizes = [slot.width_in * slot.width_out for slot in self.slots]
        self.parameters = sum(self._sizes)

    @classmethod
    def attach(cls, model: nn.Module, layers: Sequence[int], roles: RoleMap = OPT) -> Edits:
        """Freeze a model and make the `down` matrices of these layers editable.

        Raises AtlasError where the layers do not rise, or the model has no such layer.
        """
        model.requires_grad_(False)
        found = {site.layer: site for site in sites(model, roles) if site.role == "down"}
        if list(layers) != sorted(set(layers)) or not set(layers) <= found.keys():
            raise AtlasError(f"editor: layers {list(layers)}, expected some of 0 to {max(found)}, rising, each once")
        slots, lanes = [], Lanes()
        for site in (found[layer] for layer in layers):
            linear = site.linear
            module = LaneLinear(linear, 1.0, lanes)
            setattr(site.parent, site.name, module)
            slots.append(Slot(site, module, linear.in_features, linear.out_features))
        return cls(model, slots, lanes, roles)

    def none(self, lanes: int) -> Tensor:
        """``theta`` before any edit."""
        return torch.zeros(lanes, self.parameters, device=self.slots[0].module.base.weight.device)

    def bind(self, theta: Tensor | None) -> None:
        """Let the model run with the edits in ``theta``, or as the base."""
        if theta is None:
            for slot in self.slots:
                slot.module.unbind()
            return
        for slot, update in zip(self.slots, self.updates(theta), strict=True):
            slot.module.pair, slot.module.merged = None, slot.module.base.weight.T + update

    def updates(self, theta: Tensor) -> list[Tensor]:
        """What is added to each matrix, slot by slot, as views into ``theta`` shaped (lanes, in, out)."""
        parts = torch.split(theta, self._sizes, dim=1)
        shapes = [(len(theta), slot.width_in, slot.width_out) for slot in self.slots]
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def logits(self, lines: Batch) -> Tensor:
        """Logits of the next token at every token of a batch, (tokens, symbols)."""
        return self.run(lines.tokens, lines.positions, lines.packed, lines.lanes)

    def run(self, tokens: Tensor, positions: Tensor, packed: Packed, lanes: tuple[int, ...]) -> Tensor:
        """Logits of packed lines, (tokens, symbols); ``lanes`` has the tokens of each lane."""
        self.lanes.sizes = lanes
        logits: Tensor = self.model(tokens, positions, packed)
        return logits

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Tensors by name, ``PATH.update`` (lanes, in, out), for saving."""
        parts = self.updates(theta.detach())
        return {f"{slot.site.path}.update": part.contiguous() for slot, part in zip(self.slots, parts, strict=True)}
