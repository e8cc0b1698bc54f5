"""Readers of users' own pools that plugins bring: each takes files by their suffix, or looks into them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

from atlas.errors import AtlasError
from atlas.plugins.loading import READERS, installed, load_class
from atlas.pool.facts import UNDRAWN, Fact


class PoolReader(ABC):
    """Reads one kind of file into facts.

    Attributes:
        suffixes: of the files that are its own, in lower case with the dot, such as ``.facts``. One of Atlas's own
            suffixes is fine where ``recognises`` tells the files apart.
    """

    suffixes: ClassVar[tuple[str, ...]]

    def recognises(self, path: Path) -> bool:  # noqa: ARG002
        """Whether a file with one of the suffixes is its own; it is there and can be opened."""
        return True

    @abstractmethod
    def read(self, path: Path) -> Sequence[Fact]:
        """The facts of a file, in its order, each with a ``fact_id`` of its own, ``role`` taught, placebo or UNDRAWN.

        Raise AtlasError with one line, ``PATH: what is wrong, what was expected, how to mend it``. The rules that every
        pool keeps are checked afterwards.
        """


@cache
def readers() -> dict[str, PoolReader]:
    """The readers that are installed, by ``package.module:Name``, in the order of their entry points' names.

    Raises AtlasError where one is no PoolReader, or says no suffixes.
    """
    found: dict[str, PoolReader] = {}
    for reference in installed(READERS).values():
        kind, _ = load_class(reference, READERS)
        suffixes = getattr(kind, "suffixes", None)
        if not isinstance(suffixes, tuple) or not all(str(each).startswith(".") for each in suffixes) or not suffixes:
            raise AtlasError(f"{reference}: suffixes: found {suffixes!r}, expected a tuple such as ('.facts',)")
        found[reference] = kind()
    return found


def reader_of(path: Path) -> str | None:
    """Which plugin reads a file, as ``package.module:Name``; None where Atlas does. AtlasError where several do."""
    mine = [
        reference
        for reference, reader in readers().items()
        if path.suffix.lower() in reader.suffixes and path.is_file() and reader.recognises(path)
    ]
    if len(mine) > 1:
        raise AtlasError(f"{path}: {' and '.join(mine)} both read this file; uninstall one of their packages")
    return mine[0] if mine else None


def read(path: Path) -> list[Fact] | None:
    """The facts of a file that a plugin reads; None where none does. AtlasError where it gives something else."""
    if (reference := reader_of(path)) is None:
        return None
    facts = list(readers()[reference].read(path))
    if wrong := [fact for fact in facts if not isinstance(fact, Fact)]:
        raise AtlasError(f"{path}: {reference} gave {wrong[0]!r:.60}, expected atlas.pool.facts.Fact; mend the plugin")
    if len({fact.role == UNDRAWN for fact in facts}) > 1:
        raise AtlasError(f"{path}: {reference} gives some facts a role and some none; give it to every fact or to none")
    if not facts:
        raise AtlasError(f"{path}: {reference} found no facts; give the file some")
    return facts
