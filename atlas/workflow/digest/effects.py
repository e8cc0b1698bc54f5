"""Which definitions do nothing at import time but bind their own names, so that they count only where they are used.

In doubt a definition does more: a decorator or a call that is not known may enter it in a registry, a base class may
collect its children. Such definitions count in every step that imports their module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from atlas.workflow.digest.definition import Function, chain_of
from atlas.workflow.digest.package import Package, Place

# the members of these modules, when called or inherited from, make a new thing and do nothing else
MODULES = {
    *("abc", "builtins", "collections", "collections.abc", "contextlib", "dataclasses", "enum", "functools"),
    *("itertools", "math", "pathlib", "pydantic", "re", "typing"),
}
BESIDES = {
    *("builtins.dict.fromkeys", "logging.getLogger", "operator.attrgetter", "operator.itemgetter"),
    *("torch.autograd.Function", "torch.inference_mode", "torch.nn.Module", "torch.no_grad", "torch.optim.Optimizer"),
}
BUT = {
    *("builtins.__import__", "builtins.breakpoint", "builtins.delattr", "builtins.eval", "builtins.exec"),
    *("builtins.input", "builtins.next", "builtins.open", "builtins.print", "builtins.setattr"),
}
CREATION = {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"}
INHERITANCE = {"__init_subclass__", "__set_name__"}


class Effects:
    """Judges the definitions of a package, each once."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self._judged: dict[Place, bool] = {}

    def only_binds(self, place: Place) -> bool:
        """Whether a definition has no effect at import time but its names."""
        if place not in self._judged:
            self._judged[place] = False  # for one that needs itself
            definition, source = self.package.definition(place), self.package.source(place.module)
            if definition.is_import and source:  # what nobody uses is imported for what it does
                self._judged[place] = definition.names <= source.used
            else:
                self._judged[place] = definition.is_main_block or all(
                    node is not None and self._harmless(place.module, node, unwanted)
                    for node, unwanted in _at_import(definition.node)
                )
        return self._judged[place]

    def _harmless(self, module: str, node: ast.expr, unwanted: set[str]) -> bool:
        """Whether an expression does nothing; with ``unwanted``, neither does calling it or inheriting from it."""
        inside = list(ast.walk(node))
        calls = [inner for inner in inside if isinstance(inner, ast.Call)]
        handed = [part for call in calls for value in (*call.args, *call.keywords) for part in ast.walk(value)]
        return (
            not any(isinstance(inner, ast.Await | ast.NamedExpr | ast.Yield | ast.YieldFrom) for inner in inside)
            and all(self.known(module, call.func, CREATION) for call in calls)
            and all(self._passive(module, part) for part in handed if isinstance(part, ast.Name | ast.Attribute))
            and (not unwanted or isinstance(node, ast.Call) or self.known(module, node, unwanted))
        )

    def known(self, module: str, node: ast.expr, unwanted: set[str]) -> bool:
        """Whether to call a thing, or to inherit from it, does nothing but make a new thing."""
        if isinstance(node, ast.Subscript):
            node = node.value
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Constant):
            return True  # "".join
        origin = self.package.origin(module, chain_of(node) or ())
        if isinstance(origin, Place):
            return self._plain_class(origin, unwanted)
        return origin is not None and _listed(origin)

    def _plain_class(self, place: Place, unwanted: set[str]) -> bool:
        """Whether a class and those above it lack the methods that may do more."""
        node = self.package.definition(place).node
        return (
            isinstance(node, ast.ClassDef)
            and self.only_binds(place)
            and not any(isinstance(part, Function) and part.name in unwanted for part in node.body)
            and all(self.known(place.module, base, unwanted) for base in node.bases)
        )

    def _passive(self, module: str, node: ast.expr) -> bool:
        """Whether a thing that is handed to a call does nothing when it is called in turn."""
        chain = chain_of(node)
        origin = self.package.origin(module, chain) if chain else ""
        if isinstance(origin, Place):
            made = self.package.definition(origin).node
            return (
                not isinstance(made, Function)
                and self.only_binds(origin)
                and (not isinstance(made, ast.ClassDef) or self._plain_class(origin, CREATION))
            )
        return origin is not None and (_listed(origin) or (origin.startswith("builtins.") and origin not in BUT))


def _listed(origin: str) -> bool:
    return (origin.rpartition(".")[0] in MODULES and origin not in BUT) or origin in BESIDES


def _at_import(node: ast.stmt) -> Iterator[tuple[ast.expr | None, set[str]]]:
    """Expressions that run when a definition is imported, with what a class called by them must lack; None for code
    of another kind."""
    if isinstance(node, Function):
        yield from ((decorator, CREATION) for decorator in node.decorator_list)
        yield from ((default, set()) for default in (*node.args.defaults, *node.args.kw_defaults) if default)
    elif isinstance(node, ast.ClassDef):
        yield from ((decorator, CREATION) for decorator in node.decorator_list)
        yield from ((base, INHERITANCE) for base in node.bases)
        yield from ((keyword.value, CREATION) for keyword in node.keywords)
        for part in node.body:
            yield from _at_import(part)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        inside = (part for target in targets for part in ast.walk(target))
        yield from ((None, set()) for part in inside if isinstance(part, ast.Attribute | ast.Subscript))
        yield from ((value, set()) for value in [node.value] if value)
    elif not isinstance(node, ast.Pass) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        yield None, set()
