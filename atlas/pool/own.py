"""A user's own pool: CSV, JSON Lines or Parquet, one fact a row, or JSON as others publish it.

Columns: ``prompt``, ``answer``, and where wanted ``rephrases``, ``aliases`` (other right answers), ``fact_id`` (else
template and row number), ``domain`` (else "own"), ``template`` (else the domain; facts that share it are each other's
alternatives) and ``role`` (taught or placebo, on every row or none; else drawn). ``rephrases`` and ``aliases`` are
lists; in a CSV cell one is a JSON list, or texts with " | " between them. ``subject`` is what the prompt is about, as
editors need it, with ``subject_start``, the index of its first character, where the prompt has it more than once. A
pool.parquet that Atlas made can be read back.

JSON is read as CounterFact or zsRE, lists whose first record shows which of the two they are. CounterFact (Meng et al.
2022, arXiv 2202.05262): the prompt is ``requested_rewrite.prompt`` with the subject in its braces, the answer
``target_new``, the paraphrases ``paraphrase_prompts``; facts of a relation are each other's alternatives. zsRE (Levy et
al. 2017, as Mitchell et al. 2022 and Meng et al. 2023 publish it): the prompt is the question ``src``, the answer the
first of ``answers``, the paraphrase ``rephrase``. Prompts of other subjects that these files have for locality
(``neighborhood_prompts``, ``loc``) are not used: that is measured on facts of the pool that are never taught.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from atlas.errors import AtlasError
from atlas.pool.facts import LISTS, PLACEBO, TAUGHT, UNDRAWN, Fact, Unfit
from atlas.study.settings import BETWEEN, MOST, explain
from atlas.workflow import files, progress

DEFAULT_DOMAIN = "own"
SEPARATOR = " | "
DERIVED = {"subject_end"}  # columns of pool.parquet that follow from others
PUBLISHED = ".json"
HOLE = "{}"  # the subject's place in a prompt of CounterFact


class _Record(BaseModel):
    """What is read of a record that others wrote; strict, so that a number is not taken for text."""

    model_config = ConfigDict(extra="ignore", strict=True)


def _number(cell: Any) -> Any:
    """The number in a CSV cell; other cells are left to the validation of the row."""
    return int(cell) if isinstance(cell, str) and cell.isdecimal() else cell


Texts = Annotated[list[str], BeforeValidator(lambda cell: [] if cell is None else cell)]


class _OwnRow(_Record):
    """One row as the user wrote it."""

    prompt: str
    answer: str
    rephrases: Texts = []
    aliases: Texts = []
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

    def fact(self, number: int) -> Fact:
        domain = self.domain or DEFAULT_DOMAIN
        template = self.template or domain
        named = {"fact_id": self.fact_id or f"{template}/{number:05d}", "domain": domain, "template": template}
        lists = {"rephrases": tuple(self.rephrases), "aliases": tuple(self.aliases)}
        return Fact(**self.model_dump() | named | lists | {"role": self.role or UNDRAWN})


class _Target(_Record):
    text: str = Field(alias="str")


class _Rewrite(_Record):
    prompt: str
    subject: str = Field(min_length=1)
    target_new: _Target
    relation_id: str

    @field_validator("prompt")
    @classmethod
    def _one_hole(cls, prompt: str) -> str:
        if prompt.count(HOLE) != 1:
            raise ValueError(f"a prompt has {HOLE} once, for the subject")
        return prompt


class _CounterFact(_Record):
    case_id: int
    requested_rewrite: _Rewrite
    paraphrase_prompts: list[str] = Field(min_length=1)

    def fact(self, _number: int) -> Fact:
        asked = self.requested_rewrite
        template = f"counterfact/{asked.relation_id}"
        return Fact(
            fact_id=f"{template}/{self.case_id}",
            role=UNDRAWN,
            domain="counterfact",
            template=template,
            prompt=asked.prompt.replace(HOLE, asked.subject),
            answer=asked.target_new.text.strip(),
            rephrases=tuple(prompt.strip() for prompt in self.paraphrase_prompts),
            subject=asked.subject,
            subject_start=asked.prompt.index(HOLE),
        )


class _Zsre(_Record):
    subject: str = Field(min_length=1)
    src: str
    answers: list[str] = Field(min_length=1)
    rephrase: str

    @model_validator(mode="after")
    def _subject_in_question(self) -> _Zsre:
        if self.subject not in self.src:
            raise ValueError(f"subject: {self.subject!r} is not in the question {self.src!r}")
        return self

    def fact(self, number: int) -> Fact:
        return Fact(
            fact_id=f"zsre/{number:05d}",
            role=UNDRAWN,
            domain="zsre",
            template="zsre",
            prompt=self.src,
            answer=self.answers[0].strip(),
            rephrases=(self.rephrase.strip(),),
            subject=self.subject,
            subject_start=self.src.index(self.subject),
        )


def is_published(path: Path | str | None) -> bool:
    """Whether a source is a pool as others publish it, not one written for Atlas."""
    return path is not None and Path(path).suffix.lower() == PUBLISHED


@dataclass(frozen=True)
class Read:
    """What a file holds: facts in its order, rows that can be none, and how many rows have each key that is not used.

    ``published``: whether it has a shape that others publish, so that its paraphrases need not differ as our own must.
    """

    facts: list[Fact]
    unfit: list[Unfit]
    unused: Mapping[str, int]
    published: bool = False


def read_facts(path: Path | str) -> list[Fact]:
    """The facts of a file where every row is one, see ``read_pool_file``.

    Raises AtlasError in addition where a row can be no fact.
    """
    read = read_pool_file(path)
    if read.unfit:
        said = [f"{one.row}: {one.reason} ({one.example})" for one in read.unfit[:MOST]]
        more = [f"and {len(read.unfit) - MOST} more"] if len(read.unfit) > MOST else []
        raise AtlasError(f"{path}: {BETWEEN.join(said + more)}")
    return read.facts


def read_pool_file(path: Path | str) -> Read:
    """Read a user's own pool; ``role`` is UNDRAWN throughout where the file has none. Says what is not used.

    Raises AtlasError where the file is missing, truncated, of an unknown kind or lacks a column: all that makes the
    file another one than it should be. A row that is wrong by itself is among the unfit.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        kinds = ", ".join(_READERS)
        raise AtlasError(f"{path}: unknown kind of pool {path.suffix!r}; expected {kinds} (CounterFact or zsRE)")
    rows = list(_READERS[path.suffix.lower()](path))
    if not rows:
        raise AtlasError(f"{path}: no facts; give one a row")
    kind = _kind(path, rows)
    facts, unfit = [], []
    for number, cells in enumerate(rows, start=1):
        try:
            facts.append(kind.model_validate(cells).fact(number))
        except ValidationError as error:
            name = f"record {number}" if is_published(path) else f"fact {cells.get('fact_id') or number}"
            unfit.append(Unfit(name, explain(error), ""))
    without = [fact for fact in facts if fact.role == UNDRAWN]
    if 0 < len(without) < len(facts):
        raise AtlasError(
            f"{path}: fact {without[0].fact_id} has no role, others have; give it to every fact or to none"
        )
    return Read(facts, unfit, {}, is_published(path))


def _kind(path: Path, rows: list[dict[str, Any]]) -> type[_OwnRow] | type[_CounterFact] | type[_Zsre]:
    """What the rows are. Checks that the columns of an own pool are there, and says which are not used."""
    if is_published(path):
        if "requested_rewrite" in rows[0]:
            return _CounterFact
        if "src" in rows[0]:
            return _Zsre
        raise AtlasError(
            f"{path}: record 1 has the keys {', '.join(rows[0])}; expected requested_rewrite (CounterFact) or src "
            "(zsRE); write a pool of your own as CSV, JSONL or Parquet"
        )
    found = list(dict.fromkeys(name for row in rows for name in row))
    for name, field in _OwnRow.model_fields.items():
        if field.is_required() and name not in found:
            raise AtlasError(f"{path}: no column {name!r}; found {', '.join(found)}")
    if unknown := [name for name in found if name not in _OwnRow.model_fields.keys() | DERIVED]:
        progress.say(f"{path}: columns not used: {', '.join(unknown)}")
    return _OwnRow


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    """Cells as text; an empty cell is a missing one. A byte-order mark, as spreadsheets write it, is dropped."""
    reader = csv.DictReader(io.StringIO(files.read_text(path).removeprefix("\ufeff"), newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise AtlasError(f"{path}: line {reader.line_num} has not as many cells as the header; quote commas")
            yield {name: _texts(cell) if name in LISTS else cell or None for name, cell in row.items()}
    except csv.Error as error:
        raise AtlasError(f"{path}: line {reader.reader.line_num}: not valid CSV ({error})") from None


def _texts(cell: str) -> Any:
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


def _read_json(path: Path) -> Iterator[dict[str, Any]]:
    try:
        records = json.loads(files.read_text(path))
    except json.JSONDecodeError as error:
        raise AtlasError(f"{path}: not valid JSON ({error}); copy it again") from None
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise AtlasError(f"{path}: not a JSON list of records, as CounterFact and zsRE are published; copy it again")
    yield from records


_READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": lambda path: iter(files.read_parquet(path, mend="copy it again").to_pylist()),
    PUBLISHED: _read_json,
}
