"""Which messages of raised errors count: those that the step itself reads, since they may come into a result.

A message that ends on the terminal or in a log changes nothing. It counts where the step reaches a handler of its
error, or of one above it, that looks at the error for something else than to say it, to leave, or to raise another one
whose message does not count either. In doubt it counts.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

from atlas.workflow.digest.definition import Function, chain_of
from atlas.workflow.digest.effects import CREATION, Effects
from atlas.workflow.digest.package import Package, Place

Class = Place | str  # of an error: a definition, or its full name outside the package

SAYING = {"print", "say", "warn"}  # functions that tell people what they are given
LEAVING = {"sys.exit", "os._exit"}
ANY = "builtins.BaseException"
# what pydantic catches comes out as another error
CARRIED = {"pydantic.ValidationError": ("builtins.ValueError", "builtins.AssertionError")}
VALUES = {"builtins.StopIteration", "builtins.StopAsyncIteration"}  # what they hold is what a generator returns


class Messages:
    """The messages in one package."""

    def __init__(self, package: Package, effects: Effects) -> None:
        self.package, self.effects = package, effects
        self._above: dict[Class, frozenset[Class] | None] = {}

    def counted(self, places: Iterable[Place]) -> list[tuple[Place, str]]:
        """The messages that count where all of ``places`` are reached, with their places."""
        definitions = [(place, self.package.definition(place)) for place in places]
        handlers = [(place.module, handler) for place, found in definitions for handler in found.handlers]
        heeded: set[Class] = set()
        before = -1
        while len(heeded) > before:  # what one handler takes up, another one may have passed on
            before = len(heeded)
            for module, handler in handlers:
                if any(self._taken_up(module, call, heeded) for call in _looks(handler)):
                    heeded |= self._caught(module, handler.type)
        raised = ((place, message) for place, found in definitions for message in found.messages)
        return [(place, said.text) for place, said in raised if self._matters(place.module, said.error, heeded)]

    def _taken_up(self, module: str, call: ast.expr | None, heeded: set[Class]) -> bool:
        """Whether what is called with an error may use what it says."""
        chain = chain_of(call) if call else None
        if not call or not chain:
            return True
        origin = self.package.origin(module, chain)
        if chain[-1] in SAYING or origin in LEAVING:
            return False
        if isinstance(origin, Place):
            node = self.package.definition(origin).node
            if isinstance(node, Function) and isinstance(node.returns, ast.Name) and node.returns.id == "NoReturn":
                return False
        return self._matters(module, call, heeded)

    def _matters(self, module: str, error: ast.expr, heeded: set[Class]) -> bool:
        """Whether the message of an error is heeded, or given to a class that may do more than keep it."""
        origin = self.package.origin(module, chain_of(error) or ())
        above = self.above(origin) if origin else None
        return not above or not above.isdisjoint(heeded | VALUES) or not self.effects.known(module, error, CREATION)

    def _caught(self, module: str, caught: ast.expr | None) -> set[Class]:
        """The classes of errors that a handler catches; that of all where it cannot be told."""
        names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
        found = {self.package.origin(module, chain_of(name) or ()) or ANY for name in names if name} or {ANY}
        return {each for origin in found for each in (origin, *CARRIED.get(str(origin), ()))}

    def above(self, error: Class) -> frozenset[Class] | None:
        """A class of errors with all above it; None where it is no class, or of another package than Python's own."""
        if error not in self._above:
            self._above[error] = None  # for one that is above itself
            self._above[error] = self._all_above(error)
        return self._above[error]

    def _all_above(self, error: Class) -> frozenset[Class] | None:
        if isinstance(error, str):
            known = getattr(builtins, error.removeprefix("builtins."), None)
            if not (isinstance(known, type) and issubclass(known, BaseException)):
                return None
            return frozenset(f"builtins.{kind.__name__}" for kind in known.__mro__)
        node = self.package.definition(error).node
        if not isinstance(node, ast.ClassDef):
            return None
        found: frozenset[Class] = frozenset([error])
        for base in node.bases:
            origin = self.package.origin(error.module, chain_of(base) or ())
            above = self.above(origin) if origin else None
            if above is None:
                return None
            found |= above
        return found if len(found) > 1 else None


def _looks(handler: ast.ExceptHandler) -> Iterator[ast.expr | None]:
    """Where a handler looks at the error that it caught: what is called with it to raise another error, or alone in a
    statement; None for any other look. To raise it again, or as a cause, is no look."""
    waiting: list[ast.AST] = list(handler.body)
    while waiting:
        node = waiting.pop()
        told = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Expr) else None
        if isinstance(told, ast.Call):
            if any(_is_error(name, handler) for part in (*told.args, *told.keywords) for name in ast.walk(part)):
                yield told.func
            waiting.append(told.func)
        elif isinstance(node, ast.Raise):
            waiting += [told] if told and not _is_error(told, handler) else []
        elif _is_error(node, handler):
            yield None
        else:
            waiting += ast.iter_child_nodes(node)


def _is_error(node: ast.AST, handler: ast.ExceptHandler) -> bool:
    return isinstance(node, ast.Name) and node.id == handler.name
