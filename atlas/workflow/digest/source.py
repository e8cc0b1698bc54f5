"""A source file as its definitions."""

from __future__ import annotations

import ast
from functools import cached_property
from pathlib import Path

from atlas.errors import AtlasError
from atlas.workflow.digest.definition import StatementReader, imports_of, strip_docstring


class Source:
    """A parsed module. Raises AtlasError where it is not valid Python."""

    def __init__(self, name: str, path: Path) -> None:
        package = name.rpartition(".")[0] if path.name != "__init__.py" and path.suffix == ".py" else name
        body = [] if path.is_dir() else _tree(path).body
        statements = [node for statement in body for node in _split(statement)]
        imports = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = {
            each.bound: ".".join((each.module, *each.rest(())))
            for node in imports
            for each in imports_of(node, package)
        }
        self.definitions = [StatementReader(node, package, imported).found for node in statements]
        self.bindings: dict[str, list[int]] = {}
        for index, definition in enumerate(self.definitions):
            for bound in definition.names:
                self.bindings.setdefault(bound, []).append(index)

    @cached_property
    def used(self) -> frozenset[str]:
        """First parts of all names that the module uses anywhere."""
        return frozenset(chain[0] for definition in self.definitions for chain in definition.uses)


def _tree(path: Path) -> ast.Module:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise AtlasError(f"{path}, line {error.lineno}: {error.msg}; mend the syntax and run again") from None
    except ValueError as error:  # null bytes
        raise AtlasError(f"{path}: {error}; mend the file and run again") from None
    strip_docstring(tree)
    return tree


def _split(node: ast.stmt) -> list[ast.stmt]:
    """An import of several names as one statement for each: they are used apart."""
    if isinstance(node, ast.Import):
        return [ast.Import([alias], lineno=node.lineno) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [ast.ImportFrom(node.module, [alias], node.level, lineno=node.lineno) for alias in node.names]
    return [node]
