"""Where the linear layers of an architecture are, by role: the only thing the LoRA engine knows of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from atlas.errors import AtlasError
from atlas.sections import Role


@dataclass(frozen=True)
class RoleMap:
    """Path of the list of layers in a model, and in a layer the path of each role's linear module."""

    layers: str
    roles: Mapping[Role, str]


OPT = RoleMap(
    layers="model.decoder.layers",
    roles={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.out_proj",
        "up": "fc1",
        "down": "fc2",
    },
)


@dataclass(frozen=True)
class Site:
    """One linear layer that may carry an adapter."""

    layer: int
    role: Role
    path: str
    parent: nn.Module
    name: str

    @property
    def linear(self) -> nn.Linear:
        """The linear module that stands there now; AtlasError where it is something else."""
        module = getattr(self.parent, self.name)
        if not isinstance(module, nn.Linear):
            raise AtlasError(
                f"{self.path}: found {type(module).__name__}, expected a linear layer for role {self.role}"
            )
        return module


def sites(model: nn.Module, roles: RoleMap = OPT) -> list[Site]:
    """All sites of a model, layer by layer, in the order of the role map."""
    found = []
    for layer in range(len(list(model.get_submodule(roles.layers).children()))):
        for role, inside in roles.roles.items():
            path = f"{roles.layers}.{layer}.{inside}"
            parent, _, name = path.rpartition(".")
            found.append(Site(layer, role, path, model.get_submodule(parent), name))
    return found
