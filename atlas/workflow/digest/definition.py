"""One statement at the top of a module: what it binds, what it uses, what it imports, and a hash of its meaning."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

Chain = tuple[str, ...]  # a dotted name, part by part
Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.ClassDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPED = (*FUNCTIONS, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NOTED = (*SCOPED, ast.Import, ast.ImportFrom, ast.Attribute, ast.Global, ast.Constant, ast.ExceptHandler)

# code that looks itself up by other means than names
DYNAMIC = {"globals", "vars", "eval", "exec", "__import__"}
DYNAMIC_ATTRIBUTES = {"__subclasses__", "__dict__", "import_module"}
# keywords that only say something to people, by what is called: a function by its full name, a method by its own
SAID = {
    "argparse.ArgumentParser": {"description", "epilog", "usage"},
    "add_argument": {"help", "metavar"},
    "add_argument_group": {"title", "description"},
    "add_parser": {"help", "description", "epilog", "usage"},
    "add_subparsers": {"title", "description", "help", "metavar"},
    "pydantic.Field": {"title", "description"},
}
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


class Message(NamedTuple):
    """The text of an error that a definition raises: it counts where code reads it. ``error`` is what is raised."""

    error: ast.expr
    text: str


@dataclass
class Definition:
    """One statement at the top of a module: a function, a class, a constant, an import, or code that just runs."""

    node: ast.stmt
    names: frozenset[str] = frozenset()
    uses: set[Chain] = field(default_factory=set)
    quoted: set[Chain] = field(default_factory=set)
    imports: list[Imported] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)  # top-level modules whose import runs, unlike those for type checkers
    messages: list[Message] = field(default_factory=list)
    handlers: list[ast.ExceptHandler] = field(default_factory=list)  # those that name what they catch
    dynamic: bool = False
    digest: str = ""

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, ast.Import | ast.ImportFrom)

    @cached_property
    def is_main_block(self) -> bool:
        """``if __name__ == "__main__"``: does not run where the module is imported."""
        return isinstance(self.node, ast.If) and ast.unparse(self.node.test) == "__name__ == '__main__'"


def strip_docstring(node: ast.AST) -> None:
    """Take the docstring off a node, where it is one that has a docstring."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del node.body[0]


class StatementReader:
    """Reads one statement of a module in one pass, since every snakemake command waits for it: ``found``.

    ``package``: what relative imports start from; ``imported``: what names of the module stand for that it imports, in
    full.
    """

    def __init__(self, node: ast.stmt, package: str, imported: Mapping[str, str]) -> None:
        self.package, self.imported = package, imported
        self.found = Definition(node)
        self.parts: list[str] = []
        self.used: set[Chain] = set()  # names of the scope that is read: used there or in scopes inside
        self.bound: set[str] = set()  # and bound there, where that is certain
        self.declared: set[str] = set()
        match node:
            case ast.Assign([ast.Name("__version__")], ast.Constant()):  # a name for the code, which is digested itself
                self._read(node.targets)
            case _:
                self._read(node)
        self.found.uses = self.used
        self.found.digest = hashlib.sha256("\0".join(self.parts).encode("utf-8", "surrogatepass")).hexdigest()
        brought = [] if isinstance(node, Scope) else [imported.bound for imported in self.found.imports]
        self.found.names = frozenset([*self.bound, *brought])

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
                self._read_field(value, name, getattr(value, name, None))
            self.parts.append(")")

    def _read_field(self, node: ast.AST, name: str, part: Any) -> None:
        if isinstance(node, SCOPED) and (name == "body" or not isinstance(node, FUNCTIONS)):
            self._read_inside(node, part)
        elif isinstance(node, ast.Call) and name == "keywords" and (said := self._said(node)):
            self._read([keyword for keyword in part if keyword.arg not in said])
            self._read_text([keyword.value for keyword in part if keyword.arg in said])
        elif isinstance(node, ast.Raise) and name == "exc" and isinstance(part, ast.Call):
            self._read_message(part.func, [*part.args, *(keyword.value for keyword in part.keywords)])
        elif isinstance(node, ast.If) and name == "body" and (chain_of(node.test) or ("",))[-1] == "TYPE_CHECKING":
            loaded = {*self.found.loaded}
            self._read(part)
            self.found.loaded = loaded
        elif isinstance(node, ast.Assert) and name == "msg" and part:
            self._read_message(ast.Name("AssertionError", ast.Load()), [part])
        else:
            self._read(part)

    def _said(self, call: ast.Call) -> set[str]:
        """The keywords of a call that only say something to people."""
        if isinstance(call.func, ast.Attribute) and call.func.attr in SAID:
            return SAID[call.func.attr]
        first, *rest = chain_of(call.func) or ("",)
        return SAID.get(".".join((self.imported.get(first, ""), *rest)), set())

    def _read_message(self, error: ast.expr, arguments: list[ast.expr]) -> None:
        self._read(error)
        self.found.messages.append(Message(error, "\0".join(self._read_text(arguments))))

    def _read_text(self, value: object) -> list[str]:
        """Read what is put together to a text for people: its words and plain names are given back, the rest counts."""
        match value:
            case list():
                return [word for part in value for word in self._read_text(part)]
            case ast.JoinedStr() | ast.FormattedValue() | ast.BinOp(op=ast.Add()) | ast.IfExp():
                return self._read_text([getattr(value, name) for name in value._fields])
            case ast.Constant(value=str(word)):
                return [repr(word)]
            case ast.Name() | ast.Attribute() if chain := chain_of(value):
                self._note_name(value, chain)
                return [".".join(chain)]
            case ast.Add():
                return []
            case ast.AST():
                self._read(value)
                return []
        return [repr(value)]

    def _read_inside(self, node: ast.AST, body: object) -> None:
        """Read a scope. What it binds hides names of the module, in a function: elsewhere not everywhere inside."""
        outer = self.used, self.bound
        self.used, self.bound = set(), set()
        if isinstance(node, FUNCTIONS):
            given = node.args
            every = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
            self.bound.update(argument.arg for argument in every if argument)
        self._read(body)
        hidden = self.bound if isinstance(node, FUNCTIONS) else set()
        shown = self.declared.union(imported.bound for imported in self.found.imports)
        inside = {chain for chain in self.used if chain[0] not in hidden or chain[0] in shown}
        self.used, self.bound = outer
        self.used |= inside

    def _note_name(self, node: ast.Name | ast.Attribute, chain: Chain) -> None:
        self.used.add(chain)
        if isinstance(node, ast.Attribute):
            self.found.dynamic |= not DYNAMIC_ATTRIBUTES.isdisjoint(chain)
        elif not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
        elif node.id in DYNAMIC:
            self.found.dynamic = True

    def _note(self, node: ast.AST) -> None:
        strip_docstring(node)
        if isinstance(node, Scope):
            self.bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imported = [*imports_of(node, self.package)]
            self.found.imports += imported
            self.found.loaded |= {each.module.partition(".")[0] for each in imported}
        elif isinstance(node, ast.Attribute):
            self.found.dynamic |= node.attr in DYNAMIC_ATTRIBUTES
        elif isinstance(node, ast.Global):
            self.declared.update(node.names)
        elif isinstance(node, ast.ExceptHandler):
            self.found.handlers += [node] if node.name else []
        elif isinstance(node, ast.Constant) and isinstance(text := node.value, str):
            named = len(text) < 200 and _QUOTED.fullmatch(text)  # in an annotation, or to be looked up
            self.found.quoted.update(tuple(word.split(".")) for word in (_WORD.findall(text) if named else ()))


@cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in ("ctx", "kind", "type_comment"))


def chain_of(node: ast.AST) -> Chain | None:
    """``a.b.c`` as its parts; None for what does not start with a name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def imports_of(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[Imported]:
    """What an import in ``package`` binds."""
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
