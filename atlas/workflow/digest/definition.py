"""One statement at the top of a module: what it binds, what it uses, what it imports, and a hash of its meaning."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

Chain = tuple[str, ...]  # a dotted name, part by part
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.ClassDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPED = (*FUNCTIONS, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NOTED = (*SCOPED, ast.Import, ast.ImportFrom, ast.Attribute, ast.Global, ast.Constant)

# code that looks itself up by other means than names
DYNAMIC = {"globals", "vars", "eval", "exec", "__import__"}
DYNAMIC_ATTRIBUTES = {"__subclasses__", "__dict__", "import_module"}
_WORD = re.compile(r"[A-Za-z_][\w.]*\w|[A-Za-z_]")
_QUOTED = re.compile(r"[\w.]+(\s*[\[\],|]\s*[\w.]*)*")


class Imported(NamedTuple):
    """One name that an import binds: ``from module import name as bound``; without ``name`` the module itself."""

    bound: str
    module: str
    name: str | None
    runs: tuple[str, ...]

    def rest(self, chain: Chain) -> Chain:
        """What ``chain``, which begins with the bound name, is in the imported module."""
        return (*filter(None, [self.name]), *chain[1:])


@dataclass
class Definition:
    """One statement at the top of a module: a function, a class, a constant, an import, or code that just runs."""

    node: ast.stmt
    names: frozenset[str] = frozenset()
    uses: set[Chain] = field(default_factory=set)
    quoted: set[Chain] = field(default_factory=set)
    imports: list[Imported] = field(default_factory=list)
    dynamic: bool = False
    digest: str = ""

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, ast.Import | ast.ImportFrom)

    @cached_property
    def is_main_block(self) -> bool:
        """``if __name__ == "__main__"``: does not run where the module is imported."""
        return isinstance(self.node, ast.If) and ast.unparse(self.node.test) == "__name__ == '__main__'"


def read(node: ast.stmt, package: str) -> Definition:
    """Read a statement of a module in ``package``, which relative imports start from."""
    return _Reader(node, package).found


def strip_docstring(node: ast.AST) -> None:
    """Take the docstring off a node, where it is one that has a docstring."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del node.body[0]


@dataclass
class _Names:
    """Names of one scope: used there or in scopes inside, and bound there, where that is certain."""

    used: set[Chain] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)


class _Reader:
    """Reads one statement in one pass: every snakemake command waits for it."""

    def __init__(self, node: ast.stmt, package: str) -> None:
        self.package = package
        self.found = Definition(node)
        self.parts: list[str] = []
        self.names = _Names()
        self.declared: set[str] = set()
        self._read(node)
        self.found.uses = self.names.used
        self.found.digest = hashlib.sha256("\0".join(self.parts).encode("utf-8", "surrogatepass")).hexdigest()
        self.found.names = frozenset(_bound(node)) | (
            {imported.bound for imported in self.found.imports} if not isinstance(node, Scope) else set()
        )

    def _read(self, value: object) -> None:
        """Note what ``ast.dump`` would, but for whether a name is read or written: its place says that."""
        kind = type(value)
        if kind is list:
            self.parts.append("[")
            for item in value:  # type: ignore[attr-defined]
                self._read(item)
            self.parts.append("]")
        elif not isinstance(value, ast.AST):
            self.parts.append(repr(value))
        elif (kind is ast.Name or kind is ast.Attribute) and (chain := chain_of(value)):
            self.parts.append(".".join((kind.__name__, *chain)))
            self._note_name(value, chain)  # type: ignore[arg-type]
        else:
            self.parts.append(kind.__name__)
            if kind in NOTED:
                self._note(value)
            for name in _fields(kind):  # type: ignore[arg-type]
                if kind in SCOPED and (kind not in FUNCTIONS or name == "body"):
                    self._read_inside(value, getattr(value, name))
                else:
                    self._read(getattr(value, name, None))
            self.parts.append(")")

    def _read_inside(self, node: ast.AST, body: object) -> None:
        """Read a scope. What it binds hides names of the module, in a function: elsewhere not everywhere inside."""
        outer, self.names = self.names, _Names()
        if isinstance(node, FUNCTIONS):
            self.names.bound.update(argument.arg for argument in _arguments(node.args))
        self._read(body)
        hidden = self.names.bound if isinstance(node, FUNCTIONS) else set()
        shown = self.declared.union(imported.bound for imported in self.found.imports)
        outer.used |= {chain for chain in self.names.used if chain[0] not in hidden or chain[0] in shown}
        self.names = outer

    def _note_name(self, node: ast.Name | ast.Attribute, chain: Chain) -> None:
        self.names.used.add(chain)
        if isinstance(node, ast.Attribute):
            self.found.dynamic |= not DYNAMIC_ATTRIBUTES.isdisjoint(chain)
        elif isinstance(node.ctx, ast.Store):
            self.names.bound.add(node.id)
        elif node.id in DYNAMIC:
            self.found.dynamic = True

    def _note(self, node: ast.AST) -> None:
        strip_docstring(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.found.imports += _imported(node, self.package)
        elif isinstance(node, ast.Attribute):
            self.found.dynamic |= node.attr in DYNAMIC_ATTRIBUTES
        elif isinstance(node, ast.Global):
            self.declared.update(node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.found.quoted.update(_named(node.value))


@cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in ("ctx", "kind", "type_comment"))


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from filter(None, (arguments.vararg, arguments.kwarg))


def _named(text: str) -> Iterator[Chain]:
    """Names in a string that could be one in quotes: an annotation, or a name to look up."""
    if len(text) < 200 and _QUOTED.fullmatch(text):
        yield from (tuple(word.split(".")) for word in _WORD.findall(text))


def chain_of(node: ast.AST) -> Chain | None:
    """``a.b.c`` as its parts; None for what does not start with a name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[Imported]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            whole = alias.name if alias.asname else alias.name.partition(".")[0]
            yield Imported(alias.asname or whole, whole, None, (alias.name,))
        return
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    origin = ".".join([*above, *filter(None, [node.module])])
    for alias in node.names:
        yield Imported(alias.asname or alias.name, origin, alias.name, (origin, f"{origin}.{alias.name}"))


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a statement binds, but for its imports."""
    for inner in [node] if isinstance(node, Scope) else ast.walk(node):
        if isinstance(inner, Function | ast.ClassDef):
            yield inner.name
        elif isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            yield inner.id
