"""The code digest: one string that changes when the code behind a step changes, and only then.

Snakemake sees a changed file or parameter, not a changed function two imports away. A rule that carries
``params: code=code_digest("atlas.ttt.run")`` reruns when that module, or anything it imports inside its package,
gets a real edit, or when the lock file moves a library. Comments, docstrings and formatting change nothing.

Nothing is imported: imports are read from the syntax trees, so a digest costs milliseconds and cannot run code.
Imports made at run time (``importlib.import_module``) are not seen, and data files are not code: rules list
those as inputs.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from atlas.errors import AtlasError

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"


def code_digest(module: str, root: Path = ROOT) -> str:
    """Digest of a module, of all it imports inside its package, and of the lock file in ``root``.

    Raises AtlasError where the module or the lock file is missing, or where one of the modules is not valid Python.
    """
    return hashlib.sha256("\n".join(code_parts(module, root)).encode()).hexdigest()[:16]


def code_parts(module: str, root: Path = ROOT) -> list[str]:
    """What the digest of a module is made of: ``NAME=DIGEST`` of the lock file and of every module, sorted.

    As a param of a rule it lets Snakemake's own reason for a rerun name the modules that changed.
    Raises AtlasError as ``code_digest`` does.
    """
    lock = root / LOCK
    if not lock.is_file():
        raise AtlasError(f"{lock}: no such file; run Atlas from its repository, where `make lock` writes it")
    modules = {name: _parsed(path).digest for name, path in modules_of(module, root).items()}
    return sorted(f"{name}={digest[:12]}" for name, digest in {**modules, LOCK: _file_hash(lock)}.items())


def modules_of(module: str, root: Path = ROOT) -> dict[str, Path]:
    """The modules that ``module`` consists of inside its package, itself included: dotted name to file."""
    found: dict[str, Path] = {}
    waiting = [*_parents(module), module]
    if not _file_of(module, root):
        raise AtlasError(f"{module}: no such module under {root}; check the name given to code_digest")
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if path and name not in found:
            found[name] = path
            waiting += _imports(name, path, package=module.partition(".")[0])
    return found


class _Parsed:
    """A parsed source file: the digest of its meaning, and its import statements."""

    def __init__(self, path: Path) -> None:
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError as error:
            raise AtlasError(f"{path}, line {error.lineno}: {error.msg}; mend the syntax and run again") from None
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self._parts: list[str] = []
        self._read(tree)
        self.digest = hashlib.sha256("\0".join(self._parts).encode("utf-8", "surrogatepass")).hexdigest()

    def _read(self, value: object) -> None:
        """Note what ``ast.dump`` would, in one pass: half the time, and every snakemake command waits for it."""
        if isinstance(value, ast.AST):
            if isinstance(value, ast.Import | ast.ImportFrom):
                self.imports.append(value)
            _strip_docstring(value)
            self._parts.append(type(value).__name__)
            for field in value._fields:
                self._read(getattr(value, field, None))
            self._parts.append(")")
        elif isinstance(value, list):
            self._parts.append("[")
            for item in value:
                self._read(item)
            self._parts.append("]")
        else:
            self._parts.append(repr(value))


@cache
def _parsed(path: Path) -> _Parsed:
    return _Parsed(path)


@cache
def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _strip_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            del node.body[0]


def _imports(name: str, path: Path, package: str) -> Iterator[str]:
    """Names that may be modules of ``package``: what is not one has no file and falls away later."""
    here = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _parsed(path).imports:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            parts = here.split(".")[: len(here.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*parts, *filter(None, [node.module])])
            targets = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        for target in targets:
            if target.partition(".")[0] == package:
                yield from (*_parents(target), target)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


@cache
def _file_of(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None
