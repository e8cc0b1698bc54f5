"""The facts of a user's file in which every row is one."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import AtlasError
from atlas.pool import own
from atlas.pool.facts import Fact
from atlas.study.settings import one_line


def facts_of(path: Path | str) -> list[Fact]:
    """The facts of a file. AtlasError with all that is wrong where a row can be no fact."""
    read = own.read_pool_file(path)
    if read.unfit:
        raise AtlasError(
            f"{path}: {one_line([f'{one.row}: {one.reason} (found {one.example})' for one in read.unfit])}"
        )
    return read.facts
