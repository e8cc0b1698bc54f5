"""A package on disk: its modules, and what a dotted name in one of them stands for. Nothing is imported."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from atlas.workflow.digest.definition import Chain, Definition
from atlas.workflow.digest.source import Source


class Place(NamedTuple):
    """A definition: the module and its number there."""

    module: str
    number: int


class Package:
    """The package ``name`` in the folder ``root``."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root
        self._sources: dict[str, Source | None] = {}

    def source(self, module: str) -> Source | None:
        """A module of the package, parsed; None where there is none of that name. AtlasError where it is broken."""
        if module not in self._sources:
            base = self.root.joinpath(*module.split("."))
            files = [path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()]
            path = files[0] if files else base  # the folder itself where it has no __init__.py
            there = module.partition(".")[0] == self.name and path.exists()
            self._sources[module] = Source(module, path) if there else None
        return self._sources[module]

    def definition(self, place: Place) -> Definition:
        source = self.source(place.module)
        assert source, place
        return source.definitions[place.number]

    def inside(self, module: str, chain: Chain) -> tuple[str, Chain]:
        """Follow ``chain`` from ``module`` through modules as far as it goes: the last module, and what is left."""
        while chain and self.source(f"{module}.{chain[0]}"):
            module, chain = f"{module}.{chain[0]}", chain[1:]
        return module, chain

    def origin(self, module: str, chain: Chain) -> Place | str | None:
        """What a name in a module stands for: a definition, the full name of something outside, None in doubt."""
        for hops in range(20):  # re-exports may run in circles
            source = self.source(module)
            if not source or not chain:
                return None
            found = source.bindings.get(chain[0])
            if not found:
                return None if hops or "*" in source.bindings else f"builtins.{'.'.join(chain)}"
            definition = source.definitions[found[0]]
            if len(found) > 1 or not definition.is_import:
                return Place(module, found[0]) if len(found) == len(chain) == 1 else None
            imported = next(each for each in definition.imports if each.bound == chain[0])
            module, chain = self.inside(imported.module, imported.rest(chain))
            if module.partition(".")[0] != self.name:
                return ".".join((module, *chain))
        return None
