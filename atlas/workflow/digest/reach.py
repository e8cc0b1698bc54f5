"""What a step can reach from its module: a walk over definitions, from each to all that it names.

An import runs the imported module, so whatever there does more than bind names counts, too. In doubt a module counts
whole: one that is handed about as a value, whose names are not found in it, or that looks itself up by other means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from atlas.workflow.digest.definition import Chain, Definition, Scope
from atlas.workflow.digest.effects import Effects
from atlas.workflow.digest.messages import Messages
from atlas.workflow.digest.package import Package, Place


class Load(NamedTuple):
    """A module is imported."""

    module: str


class Ask(NamedTuple):
    """A name is looked up in a module from outside; without a name anything in it may be used."""

    module: str
    chain: Chain = ()


Node = Load | Ask | Place


class Reach:
    """The walk over one package; what a node needs is worked out once for all steps."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.effects = Effects(package)
        self.messages = Messages(package, self.effects)
        self._needs: dict[Node, frozenset[Node]] = {}

    def places(self, step: str, name: str = "") -> set[Place]:
        """All definitions that the module ``step`` may use, run as a program or called by any of its functions; with
        the name of one of its definitions, what importing the module and that name may use."""
        seen: set[Node] = set()
        whole = (place for place, code in self._definitions(step) if not code.is_import)
        waiting: list[Node] = [Load(step), *([Ask(step, (name,))] if name else whole)]
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += self._needed(node)
            if not waiting and any(isinstance(node, Place) and self.package.definition(node).dynamic for node in seen):
                waiting = [Ask(node.module) for node in seen if isinstance(node, Load) and Ask(node.module) not in seen]
        # Python asks a module's __getattr__ even for modules below, so it counts; what else it could give does not
        asked = (each for node in seen if isinstance(node, Load) for each in self._bound(node.module, ("__getattr__",)))
        return {node for node in (*seen, *asked) if isinstance(node, Place)}

    def _needed(self, node: Node) -> frozenset[Node]:
        if node not in self._needs:
            match node:
                case Load():
                    found = self._of_load(node.module)
                case Ask():
                    found = self._of_ask(node.module, node.chain)
                case Place():
                    found = self._of_definition(node)
            self._needs[node] = frozenset(found)
        return self._needs[node]

    def _definitions(self, module: str) -> Iterator[tuple[Place, Definition]]:
        source = self.package.source(module)
        for index, definition in enumerate(source.definitions if source else ()):
            yield Place(module, index), definition

    def _of_load(self, module: str) -> Iterator[Node]:
        if above := module.rpartition(".")[0]:
            yield Load(above)
        for place, definition in self._definitions(module):
            if definition.is_import:
                yield from self._loads(definition)
            if not self.effects.only_binds(place):
                yield place

    def _of_ask(self, module: str, chain: Chain) -> Iterator[Node]:
        yield Load(module)
        if not chain:
            for place, definition in self._definitions(module):
                yield place
                if definition.is_import:
                    yield from self._imported(definition, None)
            return
        below = f"{module}.{chain[0]}"
        bound = list(self._bound(module, chain))
        yield from bound
        if self.package.source(below):
            yield Ask(below, chain[1:])
        elif not bound and not chain[0].startswith("__"):
            yield Ask(module)

    def _of_definition(self, place: Place) -> Iterator[Node]:
        definition = self.package.definition(place)
        yield from self._loads(definition)
        for chain in definition.uses:
            yield from self._of_use(place.module, definition, chain)
        for chain in definition.quoted:
            for node in self._of_use(place.module, definition, chain):
                if not isinstance(node, Ask) or self.package.inside(*node)[1]:  # more than a module's name
                    yield node
            name = ".".join(chain)
            if len(chain) > 1 and name != place.module and self.package.source(name):
                yield Ask(name)

    def _of_use(self, module: str, definition: Definition, chain: Chain) -> Iterator[Node]:
        if isinstance(definition.node, Scope):
            yield from self._imported(definition, chain)
        yield from self._bound(module, chain)

    def _bound(self, module: str, chain: Chain) -> Iterator[Node]:
        """What a name at the top of a module stands for: the definition, and behind an import what is imported."""
        source = self.package.source(module)
        for index in source.bindings.get(chain[0], ()) if source else ():
            yield Place(module, index)
            definition = self.package.definition(Place(module, index))
            if not isinstance(definition.node, Scope):
                yield from self._imported(definition, chain)

    def _loads(self, definition: Definition) -> Iterator[Node]:
        for imported in definition.imports:
            yield from (Load(module) for module in imported.runs if self.package.source(module))
            if imported.name == "*":
                yield Ask(imported.module)

    def _imported(self, definition: Definition, chain: Chain | None) -> Iterator[Node]:
        """What ``chain`` is behind the imports of a definition; without one, all that they bind."""
        for imported in definition.imports:
            if imported.module.partition(".")[0] == self.package.name and (not chain or chain[0] == imported.bound):
                yield Ask(imported.module, imported.rest(chain or (imported.bound,)))
