"""The list of checksums that a folder of outputs keeps, in the format of ``sha256sum``, so any tool can check it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAME = "SHA256SUMS"


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
    """The checksums that a folder keeps, by name of the file; what is damaged in the list counts as not there."""
    try:
        lines = (folder / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    began: dict[str, float] = {}
    hashes: dict[str, str] = {}
    for line in lines:
        first, _, name = line.partition("  ")
        if first.startswith("# began "):
            with suppress(ValueError):
                began[name] = float(first.removeprefix("# began "))
        elif len(first) == 64 and name:
            hashes[name] = first
    return {name: Checksum(hashes[name], began.get(name, 0.0)) for name in hashes}


def write(path: Path, sums: Mapping[str, Checksum]) -> None:
    """Write the list. ``sha256sum`` takes the lines that begin with # for remarks."""
    lines = [header(len(sums))]
    for name, entry in sorted(sums.items()):
        lines += [f"# began {entry.began!r}  {name}", f"{entry.sha256}  {name}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def header(files: int) -> str:
    """The first line, which tells a list that was cut."""
    return f"# {files} files; sha256sum --check {NAME}, or atlas check, finds those that are damaged"
