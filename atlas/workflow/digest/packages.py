"""Other packages as they are installed: which distribution a module comes from, what it requires, in what version."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from itertools import islice
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What comes with a build of torch for CUDA, whose version pins it: 2.13.0 and 2.13.0+cpu count as one. And what builds
# packages: it computes nothing, and `pip install --upgrade pip setuptools` is a habit.
UNCOUNTED = re.compile("(cuda|nvidia)-.*|pip|setuptools|triton|wheel")
FIELD = re.compile("^([A-Za-z-]+): (.*?)\r?$", re.MULTILINE)


@cache
def versions_of(modules: frozenset[str]) -> dict[str, str]:
    """The version of each distribution that top-level modules come from, and of all that these require, as installed.

    Of a version only the public part, and of Python's the first two numbers. What is not installed is left out.
    """
    of_modules = frozenset().union(*map(distributions_of, modules))
    found = {name: version for each in of_modules for name, version in _closure(each)}
    return {"python": "{}.{}".format(*sys.version_info), **found}


@cache
def distributions_of(module: str) -> frozenset[str]:
    """The distributions that a top-level module is imported from: one, of a namespace all that have a part in it, none
    where there is none, as of the standard library.

    ``importlib.metadata.packages_distributions`` says so, too, but parses the file lists of all of them: 0.4 s for
    every snakemake command to wait for.
    """
    if module in sys.stdlib_module_names:
        return frozenset()
    spec = PathFinder.find_spec(module)
    folders = [Path(folder).parent for folder in (spec and spec.submodule_search_locations) or ()]
    if spec and spec.origin:
        place = Path(spec.origin)
        folder = folders[0] if folders else place.parent
        line = f"\n{place.relative_to(folder).as_posix()},".encode()
        # mostly one of a similar name, which is therefore read first
        records = sorted(_records(folder), key=lambda path: module.lower() not in path.parent.name.lower())
        found = [*islice((record for record in records if line in b"\n" + record.read_bytes()), 1)]
    else:
        line = f"\n{module}/".encode()
        found = [record for folder in folders for record in _records(folder) if line in b"\n" + record.read_bytes()]
    names = [canonicalize_name(record.parent.name.partition("-")[0]) for record in found]
    # one that is installed to be edited is in no list of files
    return frozenset(names or filter(_read, [canonicalize_name(module)]))


@cache
def _records(folder: Path) -> list[Path]:
    return list(folder.glob("*.dist-info/RECORD"))


def version_of(name: str) -> str | None:
    """The public version of a distribution, under its canonical name; None where it is not installed."""
    return read[0] if (read := _read(name)) else None


@cache
def _read(name: str) -> tuple[str, list[str]] | None:
    """Version and requirements of a distribution, from the head of its metadata, which is all but a long README."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    fields = FIELD.findall(text.partition("\n\n")[0])
    version = dict(fields).get("Version", "")
    return version.partition("+")[0], [value for name, value in fields if name == "Requires-Dist"]


@cache
def _needed(name: str, extra: str) -> list[tuple[str, str]]:
    """What a distribution requires here, and what one of its extras adds, each with an extra of its own or none."""
    needed: list[tuple[str, str]] = []
    for text in read[1] if (read := _read(name)) else ():
        if extra or "extra ==" not in text or " or " in text:  # others are for extras, and it takes long to parse them
            wanted = Requirement(text)
            if not wanted.marker or wanted.marker.evaluate({"extra": extra}):
                needed += [(canonicalize_name(wanted.name), each) for each in ("", *wanted.extras)]
    return needed


def _closure(name: str) -> Iterator[tuple[str, str]]:
    """A distribution and all that it requires here, by name and version."""
    waiting, seen = [(name, "")], set()
    while waiting:
        here, extra = waiting.pop()
        if (here, extra) not in seen and not UNCOUNTED.fullmatch(here) and (read := _read(here)):
            seen.add((here, extra))
            waiting += _needed(here, extra)
            yield here, read[0]
