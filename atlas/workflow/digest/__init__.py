"""The code digest: one string that changes when the code behind a step changes, and only then.

Snakemake sees a changed file or parameter, not a changed function two imports away, nor another torch. A rule that
carries ``params: code=code_parts("atlas.ttt.run")`` reruns when a function, a class or a constant changes that this
module may use, anywhere in its package, or the installed version of a package that these import. The README beside this
file says what counts, and how other projects use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import cache
from pathlib import Path

from atlas.errors import AtlasError
from atlas.workflow.digest.package import Package, Place
from atlas.workflow.digest.reach import Reach

ROOT = Path(__file__).resolve().parents[3]


def code_digest(step: str, root: Path | str = ROOT) -> str:
    """Digest of the code that a step may use: one short string, for a record that lists the versions beside it.

    Errors as of ``code_parts``.
    """
    return hashlib.sha256("\n".join(_code(step, root)).encode()).hexdigest()[:16]


def code_parts(step: str, root: Path | str = ROOT, without: Collection[str] = ()) -> list[str]:
    """What a step's outputs rest on: ``MODULE=DIGEST`` of its code, ``NAME==VERSION`` of other packages, sorted.

    As a param of a rule it lets Snakemake's own reason for a rerun name what changed.

    Args:
        step: the module that the step runs, such as ``package.module``; all of it counts, and what it may reach. Or
            ``package.module:Name``: of the module what this name may reach, and what its import does.
        root: the folder that holds the package.
        without: modules of other packages that this call of the step does not come to, such as those for a format of
            files that is not there: to install them then reruns nothing.

    Raises:
        AtlasError: the module is missing, or a module that counts is not valid Python.
    """
    from atlas.workflow.digest.packages import (
        versions_of,
    )  # a step records its code only

    versions = versions_of(_imported(step, Path(root)).difference(without))
    return sorted([*_code(step, root), *(f"{name}=={version}" for name, version in versions.items())])


def definitions_of(step: str, root: Path | str = ROOT) -> dict[str, list[str]]:
    """The definitions that count for a step: by module, the names that they bind; ``""`` is code that binds none.

    Raises AtlasError as ``code_parts`` does.
    """
    reach, places = _reached(step, Path(root))
    found: dict[str, set[str]] = {}
    for place in places:
        found.setdefault(place.module, set()).update(reach.package.definition(place).names or {""})
    return {module: sorted(names) for module, names in found.items()}


def names_imported(step: str, root: Path | str, package: str) -> list[str]:
    """What the code of a step imports of another package: ``module:name``, or the module itself, sorted.

    Raises AtlasError as ``code_parts`` does.
    """
    reach, places = _reached(step, Path(root))
    imports = (imported for place in places for imported in reach.package.definition(place).imports)
    return sorted(
        {
            f"{imported.module}:{imported.name}" if imported.name else imported.module
            for imported in imports
            if imported.module.partition(".")[0] == package
        }
    )


def _code(step: str, root: Path | str) -> list[str]:
    return sorted(f"{name}={digest[:12]}" for name, digest in _of_modules(step, Path(root)).items())


@cache
def _imported(step: str, root: Path) -> frozenset[str]:
    """The top-level modules of other packages that the reached code imports."""
    reach, places = _reached(step, root)
    loaded = (reach.package.definition(place).loaded for place in places)
    return frozenset().union(*loaded) - {reach.package.name}


@cache
def _of_modules(step: str, root: Path) -> dict[str, str]:
    """A hash of what counts of each module."""
    reach, places = _reached(step, root)
    texts: dict[str, list[str]] = {}
    for place in places:
        texts.setdefault(place.module, []).append(reach.package.definition(place).digest)
    for place, message in reach.messages.counted(places):
        texts[place.module].append(message)
    return {module: hashlib.sha256("".join(found).encode()).hexdigest() for module, found in texts.items()}


@cache
def _reached(step: str, root: Path) -> tuple[Reach, list[Place]]:
    """The definitions that count for a step, in the order of the files, and the walk that found them."""
    module, _, name = step.partition(":")
    path = root.joinpath(*module.split("."))
    if not (path.with_suffix(".py").is_file() or path.joinpath("__init__.py").is_file()):
        raise AtlasError(f"{module}: no such module under {root}; check the name given to code_digest")
    reach = _reach(module.partition(".")[0], root)
    return reach, sorted(reach.places(module, name))


@cache
def _reach(package: str, root: Path) -> Reach:
    return Reach(Package(package, root))
