"""Paths in a study: one spelling for one place, and where results may go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = (  # of a checkout, Snakemake's and git's among them
    *(".ci", ".git", ".github", ".snakemake", ".venv", "atlas", "benchmarks", "docs", "envs", "examples"),
    *("profiles", "report", "rules", "studies", "tests"),
)
SHAKESPEARE = "shakespeare"  # a corpus that is fetched; a file of this name is ./shakespeare
LONGEST_PATH, LONGEST_PART = 1000, 255  # bytes; the files below it, and Snakemake's notes about them, are longer
MADE = ("pool/pool.parquet", "base/corpus.txt")  # what every study makes first


def _one_spelling(path: str) -> str:
    if not path.strip():
        raise ValueError("an empty path; name a file or folder")
    if not path.isprintable() or path != path.strip():
        raise ValueError("a path with a line end, a control character, or a space around it; rename the file")
    if found := re.search("[{}]|<[a-z][a-z0-9_]*>", path):
        raise ValueError(f"{found[0]!r} has a meaning of its own in Snakemake's paths; choose another name")
    try:
        plain = str(PurePosixPath(Path(path).expanduser() if path.startswith("~") else path))
    except RuntimeError:
        raise ValueError("nobody's home folder; write the path in full") from None
    return f"./{plain}" if plain.startswith("-") or (plain == SHAKESPEARE != path) else plain


def _fit_for_results(path: str) -> str:
    if path.startswith("./-"):
        raise ValueError("begins with a dash, as options of commands do; choose another name")
    if re.match("[a-z0-9]+:/", path):
        raise ValueError("an address; choose a folder of this machine")
    if any(len(part.encode()) > LONGEST_PART for part in PurePosixPath(path).parts):
        raise ValueError(f"a name of more than {LONGEST_PART} bytes, which disks do not take; choose a shorter one")
    if len(str(Path.cwd() / path).encode()) > LONGEST_PATH:
        raise ValueError(f"more than {LONGEST_PATH} bytes from the root on; choose a shorter path")
    return path


OwnPath = Annotated[str, AfterValidator(_one_spelling)]
"""A file or folder of the user's: ``./x/`` is ``x``, ``~`` is the home folder."""
ResultsPath = Annotated[str, AfterValidator(_one_spelling), AfterValidator(_fit_for_results)]
"""A folder that Snakemake writes to."""


def misplaced(results: str) -> Iterator[str]:
    """Why results may not go to a folder: it is, or lies in, something that is there already."""
    here, folder = Path.cwd(), Path(results).resolve()
    holding = {here, *here.parents, CHECKOUT, *CHECKOUT.parents}
    taken = [root / name for root in (here, CHECKOUT) for name in FOLDERS if root == CHECKOUT or name[0] == "."]
    if folder in holding:
        yield f"{results} holds the study itself; choose a folder of its own, such as results"
    elif found := [path for path in taken if path in (folder, *folder.parents)]:
        yield f"{results} lies in {found[0].name}, a folder of Atlas itself; choose one of its own, such as results"
    elif folder.exists() and not folder.is_dir():
        yield f"{results} is a file; choose a folder"
    elif found := [path for path in folder.parents if any((path / made).exists() for made in MADE)]:
        yield f"{results} lies in {found[0]}, which holds the results of another study; choose a folder beside it"
