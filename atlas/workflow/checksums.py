"""The list of checksums that a folder of outputs keeps, in the format of ``sha256sum``, so any tool can check it.

Its first line has a checksum of the list itself: a damaged list is told from damaged files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import AtlasError
from atlas.phrases import plural

NAME = "SHA256SUMS"


class DamagedListError(AtlasError):
    """A list of checksums that is not as it was written."""


@dataclass(frozen=True)
class Checksum:
    """What the list says of a file."""

    sha256: str
    began: float  # when its writer's process began, seconds since 1970


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path) -> dict[str, Checksum]:
    """The checksums that a folder keeps, by name of the file; none where it has no list.

    Raises DamagedListError where the list is not as it was written: then nothing in it can be believed.
    """
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return {}
    sums = _parsed(data.decode("utf-8", errors="replace"))
    if _text(sums).encode() != data:
        raise DamagedListError(
            f"{folder / NAME}: damaged, cut off or of an earlier version of Atlas (its own checksum does not hold)"
        )
    return sums


def write(path: Path, sums: Mapping[str, Checksum]) -> None:
    """Write the list. ``sha256sum`` takes the lines that begin with # for remarks."""
    path.write_bytes(_text(sums).encode())


def _text(sums: Mapping[str, Checksum]) -> str:
    """The list, whose first line has the checksum of all others, so that it guards itself."""
    lines = "".join(
        f"# began {entry.began!r}  {name}\n{entry.sha256}  {name}\n" for name, entry in sorted(sums.items())
    )
    own = hashlib.sha256(lines.encode()).hexdigest()
    return (
        f"# {plural(len(sums), 'file')}; list {own}\n"
        f"# sha256sum --check {NAME}, or atlas check, finds those that are damaged\n{lines}"
    )


def _parsed(text: str) -> dict[str, Checksum]:
    """What the lines of a list say, as far as they say anything."""
    began: dict[str, float] = {}
    hashes: dict[str, str] = {}
    for line in text.split("\n"):
        first, _, name = line.partition("  ")
        if first.startswith("# began "):
            with suppress(ValueError):
                began[name] = float(first.removeprefix("# began "))
        elif len(first) == 64:
            hashes[name] = first
    return {name: Checksum(hashes[name], began.get(name, 0.0)) for name in hashes}
