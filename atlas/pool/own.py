"""A user's own pool: CSV, JSON Lines or Parquet, one fact a row, or JSON as others publish it.

Columns: ``prompt``, ``answer``, ``rephrases``, and where wanted ``fact_id`` (else template and row number), ``domain``
(else "own"), ``template`` (else the domain; facts that share it are each other's alternatives) and ``role`` (taught or
placebo, on every row or none; else drawn). ``rephrases`` is a list; in a CSV cell it is a JSON list, or prompts with
" | " between them. ``subject`` is what the prompt is about, as editors need it, with ``subject_start``, the index of
its first character, where the prompt has it more than once. A pool.parquet that Atlas made can be read back; JSON is
read as CounterFact or zsRE, see ``published``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from atlas.errors import AtlasError
from atlas.pool import published
from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact
from atlas.study.settings import explain
from atlas.workflow import files, progress

DEFAULT_DOMAIN = "own"
SEPARATOR = " | "
DERIVED = {"subject_end"}  # columns of pool.parquet that follow from others


def _number(cell: Any) -> Any:
    """The number in a CSV cell; other cells are left to the validation of the row."""
    return int(cell) if isinstance(cell, str) and cell.isdecimal() else cell


class _OwnRow(published.Record):
    """One row as the user wrote it."""

    prompt: str
    answer: str
    rephrases: list[str]
    fact_id: str | None = None
    domain: str | None = None
    template: str | None = None
    role: str | None = Field(None, pattern=f"^({TAUGHT}|{PLACEBO})$")
    subject: str | None = None
    subject_start: Annotated[int, BeforeValidator(_number)] | None = None

    @model_validator(mode="after")
    def _find_subject(self) -> _OwnRow:
        if self.subject and self.subject_start is None:
            prompt, subject = self.prompt.lower(), self.subject.lower()
            if (times := prompt.count(subject)) != 1:
                raise ValueError(
                    f"subject: {self.subject!r} is {times} times in the prompt {self.prompt!r}; "
                    "mend it, or say in subject_start where it begins"
                )
            self.subject_start = prompt.index(subject)
        return self


def is_published(path: Path | str | None) -> bool:
    """Whether a source is a pool as others publish it, not one written for Atlas."""
    return path is not None and Path(path).suffix.lower() == published.SUFFIX


def read_facts(path: Path | str) -> list[Fact]:
    """Read a user's own pool, in the order of the file; ``role`` is UNDRAWN throughout where the file has none.

    Raises AtlasError where the file is missing, truncated, of an unknown kind, lacks a column, or a row is wrong.
    """
    path = Path(path)
    if is_published(path):
        return published.read_facts(path)
    if path.suffix.lower() not in _READERS:
        kinds = ", ".join([*_READERS, f"{published.SUFFIX} (CounterFact or zsRE)"])
        raise AtlasError(f"{path}: unknown kind of pool {path.suffix!r}; expected {kinds}")
    rows = list(_READERS[path.suffix.lower()](path))
    if not rows:
        raise AtlasError(f"{path}: no facts; give one a row")
    found = list(dict.fromkeys(name for row in rows for name in row))
    for name, field in _OwnRow.model_fields.items():
        if field.is_required() and name not in found:
            raise AtlasError(f"{path}: no column {name!r}; found {', '.join(found)}")
    if unknown := [name for name in found if name not in _OwnRow.model_fields.keys() | DERIVED]:
        progress.say(f"{path}: columns not used: {', '.join(unknown)}")
    facts = [_fact(path, number, cells) for number, cells in enumerate(rows, start=1)]
    without = [fact for fact in facts if fact.role == UNDRAWN]
    if 0 < len(without) < len(facts):
        raise AtlasError(
            f"{path}: fact {without[0].fact_id} has no role, others have; give it to every fact or to none"
        )
    return facts


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    """Cells as text; an empty cell is a missing one. A byte-order mark, as spreadsheets write it, is dropped."""
    reader = csv.DictReader(io.StringIO(files.read_text(path).removeprefix("\ufeff"), newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise AtlasError(f"{path}: line {reader.line_num} has not as many cells as the header; quote commas")
            yield {name: _rephrases(cell) if name == "rephrases" else cell or None for name, cell in row.items()}
    except csv.Error as error:
        raise AtlasError(f"{path}: line {reader.reader.line_num}: not valid CSV ({error})") from None


def _rephrases(cell: str) -> Any:
    """A list from a CSV cell; a cell that only looks like JSON is left to the validation of the row."""
    if not cell.lstrip().startswith("["):
        return cell.split(SEPARATOR) if cell else []
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return cell


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(files.read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise AtlasError(f"{path}: line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise AtlasError(f"{path}: line {number}: found {line[:40]!r}, expected an object with the columns as keys")
        yield row


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    yield from files.read_parquet(path, mend="copy it again").to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _fact(path: Path, number: int, cells: dict[str, Any]) -> Fact:
    try:
        row = _OwnRow.model_validate(cells)
    except ValidationError as error:
        raise AtlasError(f"{path}: fact {cells.get('fact_id') or number}: {explain(error)}") from None
    domain = row.domain or DEFAULT_DOMAIN
    template = row.template or domain
    return Fact(
        fact_id=row.fact_id or f"{template}/{number:05d}",
        role=row.role or UNDRAWN,
        domain=domain,
        template=template,
        prompt=row.prompt,
        answer=row.answer,
        rephrases=tuple(row.rephrases),
        subject=row.subject,
        subject_start=row.subject_start,
    )
