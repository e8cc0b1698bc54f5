"""The linear layers of a model that may be adapted: the only thing the engine knows of a model's inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.study.settings import Role


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


def chosen(model: LanguageModel, targets: Sequence[Role]) -> list[Site]:
    """The sites of some roles. AtlasError where the model has none of a role."""
    if strange := [role for role in targets if role not in model.roles.roles]:
        has = ", ".join(model.roles.roles)
        raise AtlasError(f"targets: the base has no linear layers of role {strange[0]!r}; it has {has}")
    return [site for site in sites(model) if site.role in targets]


def sites(model: LanguageModel) -> list[Site]:
    """All sites of a model, layer by layer, in the order of the role map."""
    found, roles = [], model.roles
    for layer in range(len(list(model.get_submodule(roles.layers).children()))):
        for role, inside in roles.roles.items():
            path = f"{roles.layers}.{layer}.{inside}"
            parent, _, name = path.rpartition(".")
            found.append(Site(layer, role, path, model.get_submodule(parent), name))
    return found
