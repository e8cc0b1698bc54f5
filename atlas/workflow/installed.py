"""What is installed beside what the lock file pins: Snakemake says at its start where they differ.

A difference is allowed, since each step's digest holds what is really installed (`atlas.workflow.digest`), and some
machines need another torch. A package that is missing ends Snakemake: jobs would fail one by one, hours later.
"""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from atlas.phrases import plural
from atlas.workflow.digest.packages import version_of

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.lock"
SHOWN = 4  # packages; whoever has another environment altogether differs in all of them


class Difference(NamedTuple):
    """A package of which another version is installed than the lock file pins; None where none is."""

    name: str
    locked: str
    installed: str | None


def compare(root: Path = ROOT) -> None:
    """Say in one line on stderr where the installed packages differ from the lock file; end where one is missing that
    Atlas itself imports."""
    if not (root / LOCK).is_file():
        return  # the package is installed without its repository
    found = list(differences(root / LOCK))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {
        canonicalize_name(Requirement(text).name)
        for text in (*project["dependencies"], *project["optional-dependencies"]["workflow"])
    }
    lock = relpath(root / LOCK)
    install = f"python -m pip install --requirement {shlex.quote(lock)}"
    if missing := [f"{name} {locked}" for name, locked, there in found if not there and name in direct]:
        sys.exit(f"atlas: error: not installed in {sys.prefix}: {_some(missing)}; run: {install}")
    if found:
        words = [f"{name} {there or 'missing'} ({locked})" for name, locked, there in found]
        print(
            f"atlas: warning: {plural(len(found), 'package differs', 'packages differ')} from {lock} (in brackets): "
            f"{_some(words)}; results will be those of what is installed; for the others run: {install}",
            file=sys.stderr,
        )


def differences(lock: Path) -> Iterator[Difference]:
    """Where the installed packages differ from a lock file by the public part of a version; of constraints (`-c FILE`)
    only those that are installed at all."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["-c"]:
            yield from (each for each in differences(lock.parent / words[1]) if each.installed)
        elif words:
            try:
                pinned = Requirement(" ".join(words))
            except InvalidRequirement:  # the marks of a merge, say
                sys.exit(f"atlas: error: {lock}: {line!r} is no NAME==VERSION; mend it, or run `make lock`")
            if not pinned.marker or pinned.marker.evaluate():
                name = canonicalize_name(pinned.name)
                there = version_of(name)
                if not there or not pinned.specifier.contains(there, prereleases=True):
                    yield Difference(name, str(pinned.specifier).lstrip("="), there)


def _some(names: list[str]) -> str:
    more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(names[:SHOWN] + more)
