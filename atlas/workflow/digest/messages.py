"""Which messages of raised errors count: those that the step itself reads, since they may come into a result.

A message that ends on the terminal or in a log changes nothing. It counts where the step reaches a handler of its
error, or of one above it, that looks at the error for something else than to say it, to leave, or to raise another one
whose message does not count either. In doubt it counts.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from functools import cache

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
        self._above: dict[Class | None, frozenset[Class]] = {}

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
                    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
                    caught = [self._origin(module, name) or ANY for name in names]
                    heeded.update(caught, *(CARRIED.get(str(name), ()) for name in caught))
        raised = ((place, message) for place, found in definitions for message in found.messages)
        return [(place, said.text) for place, said in raised if self._matters(place.module, said.error, heeded)]

    def _origin(self, module: str, node: ast.expr | None) -> Class | None:
        return self.package.origin(module, chain_of(node) or ()) if node else None

    def _taken_up(self, module: str, call: ast.expr | None, heeded: set[Class]) -> bool:
        """Whether what is called with an error may use what it says."""
        chain = chain_of(call) if call else None
        if not call or not chain:
            return True
        origin = self.package.origin(module, chain)
        made = self.package.definition(origin).node if isinstance(origin, Place) else None
        leaves = isinstance(made, Function) and made.returns and ast.unparse(made.returns) == "NoReturn"
        said = chain[-1] in SAYING or origin in LEAVING or leaves
        return not said and self._matters(module, call, heeded)

    def _matters(self, module: str, error: ast.expr, heeded: set[Class]) -> bool:
        """Whether the message of an error is heeded, or given to a class that may do more than keep it."""
        above = self.above(self._origin(module, error))
        return not above or not above.isdisjoint(heeded | VALUES) or not self.effects.known(module, error, CREATION)

    def above(self, error: Class | None) -> frozenset[Class]:
        """A class of errors with all above it; none where it is no class, or one of another package is among them."""
        if error not in self._above:
            self._above[error] = frozenset()  # for one that is above itself
            if isinstance(error, Place):
                node = self.package.definition(error).node
                bases = node.bases if isinstance(node, ast.ClassDef) else []
                above = [self.above(self._origin(error.module, base)) for base in bases]
                self._above[error] = frozenset([error]).union(*above) if above and all(above) else frozenset()
            else:
                known = getattr(builtins, str(error).removeprefix("builtins."), None)
                if isinstance(known, type) and issubclass(known, BaseException):
                    self._above[error] = frozenset(f"builtins.{kind.__name__}" for kind in known.__mro__)
        return self._above[error]


@cache
def _looks(handler: ast.ExceptHandler) -> list[ast.expr | None]:
    """Where a handler looks at the error that it caught: what is called with it to raise another error, or alone in a
    statement; None for any other look. To raise it again, or as a cause, is no look."""
    found: list[ast.expr | None] = []
    inside = list(ast.walk(handler))
    unseen: set[ast.AST | None] = {node for node in inside if isinstance(node, ast.Name) and node.id == handler.name}
    for node in inside:
        told = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Expr) else None
        if isinstance(node, ast.Raise):
            unseen -= {node.exc, node.cause}
        if isinstance(told, ast.Call):
            given = unseen.intersection(name for part in (*told.args, *told.keywords) for name in ast.walk(part))
            unseen -= given
            found += [told.func] if given else []
    return [*found, None] if unseen else found
