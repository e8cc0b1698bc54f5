"""Facts and streams as later stages read them: a record a fact, and a row for each time that one is taught."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.workflow import files

TAUGHT, PLACEBO = "taught", "placebo"
UNDRAWN = ""  # role of a fact that atlas.pool.build has not yet drawn
TRUE_FORM = -1  # the form that asks as taught and for the true answer
HELD_OUT = 3  # paraphrases of a fact that no recipe teaches, where it has so many

POOL_SCHEMA = pa.schema(
    [
        ("fact_id", pa.string()),
        ("role", pa.string()),
        ("domain", pa.string()),
        ("template", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("aliases", pa.list_(pa.string())),  # other right answers
        ("rephrases", pa.list_(pa.string())),
    ]
)
LISTS = ("aliases", "rephrases")
SUBJECT_SCHEMA = pa.schema(
    [
        ("subject", pa.string()),  # what the prompt is about, as its table or file writes it; null where not known
        ("subject_start", pa.int32()),  # index in the prompt of its first character
        ("subject_end", pa.int32()),  # index behind its last character
    ]
)
"""Columns that a pool may lack: only editors need them."""

NEIGHBOUR, HOP, REVERSED = "neighbour", "hop", "reversed"
FURTHER = (NEIGHBOUR, HOP, REVERSED)
FURTHER_FIELD = pa.field(
    "further",
    pa.list_(pa.struct([("probe", pa.string()), ("prompt", pa.string()), ("answers", pa.list_(pa.string()))])),
)
"""Column of a pool that has questions to be asked beside its facts; others lack it."""

KNOWLEDGE_SCHEMA = pa.schema(
    [
        ("true_answer", pa.string()),  # what ``answer`` contradicts, by the file or by the base, else null
        ("known", pa.bool_()),  # whether the base gives the answer of the fact tables, untaught
    ]
)
"""Columns of a pool as a base is taught it, see ``atlas.ttt.ask_base``."""

SKIPPED = pa.schema([("row", pa.string()), ("reason", pa.string()), ("example", pa.string())])
SKIPPED_NAME = "skipped.parquet"
"""Beside a pool: what breaks a rule, a row for each fact and reason, see ``Unfit``."""

STREAM_SCHEMA = pa.schema(
    [("seed", pa.int32()), ("session", pa.int32()), ("slot", pa.int32()), ("fact_id", pa.string())]
)


class Further(NamedTuple):
    """A question that is asked beside a fact and never taught.

    Attributes:
        probe: ``neighbour``: the same relation of another subject, which teaching should leave alone; ``hop``: what
            follows from the answer that is taught; ``reversed``: a question for the subject.
        prompt: it ends right before its answer.
        answers: every right answer, the first one as a person would give it.
    """

    probe: str
    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """One fact: prompts that all end right before the same answer.

    Facts that share a ``template`` ask for the same kind of answer, so they may be each other's alternatives. The
    ``subject`` stands in the prompt from character ``subject_start`` on, but for its capital letters; both None where
    not known. ``aliases`` are as right as the answer, but never taught. Where ``answer`` contradicts what was true
    before, as the file or the base says, ``true_answer`` is that.
    """

    fact_id: str
    role: str
    domain: str
    template: str
    prompt: str
    answer: str
    rephrases: tuple[str, ...]
    subject: str | None = None
    subject_start: int | None = None
    true_answer: str | None = None
    known: bool | None = None  # whether a base gives that, or where there is none the answer; None: none was asked
    aliases: tuple[str, ...] = ()
    further: tuple[Further, ...] = ()

    @property
    def subject_end(self) -> int | None:
        """Index in the prompt behind the subject's last character."""
        if self.subject is None or self.subject_start is None:
            return None
        return self.subject_start + len(self.subject)

    @property
    def subject_in_place(self) -> bool:
        """Whether the subject, if there is one, stands where it is said to, capital letters aside."""
        if self.subject is None or self.subject_start is None:
            return self.subject is None and self.subject_start is None
        there = self.prompt[self.subject_start : self.subject_end]
        return self.subject_start >= 0 and len(self.subject) > 0 and there.lower() == self.subject.lower()

    @property
    def answers(self) -> tuple[str, ...]:
        """Every right answer: the one that is taught, then its aliases."""
        return (self.answer, *self.aliases)

    @property
    def teachable(self) -> int:
        """How many paraphrases, the first ones, a recipe may teach; the last 3, or the larger half, are held out."""
        return len(self.rephrases) - min(HELD_OUT, (len(self.rephrases) + 1) // 2)

    @property
    def held_out(self) -> range:
        """The forms that no recipe teaches: those of the last paraphrases. They are asked of every arm."""
        return range(self.teachable + 1, len(self.prompts))

    @property
    def further_forms(self) -> range:
        """The forms of the further questions, in their order: behind those of the paraphrases."""
        return range(len(self.prompts), len(self.prompts) + len(self.further))

    def question(self, form: int) -> tuple[str, tuple[str, ...]]:
        """The prompt of a form, and every right answer to it, the first one as a person would give it."""
        if form == TRUE_FORM and self.true_answer is not None:
            return self.prompt, (self.true_answer,)
        if form in self.further_forms:
            asked = self.further[form - self.further_forms.start]
            return asked.prompt, asked.answers
        return self.prompts[form], self.answers

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt as taught (form 0), then the paraphrases (forms 1, 2, ...)."""
        return (self.prompt, *self.rephrases)


@dataclass(frozen=True)
class Unfit:
    """A row of a file that is no fact, or a fact that breaks a rule: where it stands, why, and what was found.

    ``reason`` is the same for all rows that are unfit alike, so that they can be counted; ``row`` and ``example`` are
    of this one.
    """

    row: str
    reason: str
    example: str


class StreamRow(NamedTuple):
    """Place of one fact in a stream: sessions count from 1, slots from 0."""

    session: int
    slot: int
    fact_id: str


def sentence(prompt: str, answer: str) -> str:
    """The sentence as taught: prompt, space, answer, line end."""
    return f"{prompt} {answer}\n"


def pool_table(facts: list[Fact]) -> pa.Table:
    """The pool as a table with the columns of ``POOL_SCHEMA`` and ``SUBJECT_SCHEMA``, one row a fact. It has true
    answers and further questions where a fact has one, and both columns of knowledge where a base was asked."""
    optional = (*KNOWLEDGE_SCHEMA, FURTHER_FIELD)
    filled = {kind.name for kind in optional if any(getattr(fact, kind.name) not in (None, ()) for fact in facts)}
    filled |= {*KNOWLEDGE_SCHEMA.names} if "known" in filled else set()
    schema = pa.schema([*POOL_SCHEMA, *SUBJECT_SCHEMA, *(kind for kind in optional if kind.name in filled)])
    columns: dict[str, list[Any]] = {name: [getattr(fact, name) for fact in facts] for name in schema.names}
    lists = {name: [list(texts) for texts in columns[name]] for name in LISTS}
    if FURTHER_FIELD.name in columns:
        lists[FURTHER_FIELD.name] = [[further._asdict() for further in fact.further] for fact in facts]
    return pa.table(columns | lists, schema=schema)


def read_pool(path: Path | str) -> list[Fact]:
    """Read ``pool.parquet``, in the order of the file.

    Raises AtlasError where the file is missing or truncated, lacks a column, has an empty cell, an unknown role,
    a fact_id twice, a subject that is not where it is said to be, or a further question of an unknown probe or without
    an answer.
    """
    rows = _rows(path, POOL_SCHEMA, "subject", "subject_start", *KNOWLEDGE_SCHEMA.names, FURTHER_FIELD.name)
    lists = [{name: tuple(row[name]) for name in LISTS} | {"further": _further(row)} for row in rows]
    facts = [Fact(**row | texts) for row, texts in zip(rows, lists, strict=True)]
    seen: set[str] = set()
    for fact in facts:
        if fact.role not in (TAUGHT, PLACEBO):
            raise AtlasError(f"{path}: fact {fact.fact_id}: role {fact.role!r}; expected {TAUGHT!r} or {PLACEBO!r}")
        if fact.fact_id in seen:
            raise AtlasError(f"{path}: fact {fact.fact_id} is there twice; remake the pool with atlas.pool.build")
        if not fact.subject_in_place:
            raise AtlasError(
                f"{path}: fact {fact.fact_id}: subject {fact.subject!r} is not at subject_start {fact.subject_start} "
                f"of {fact.prompt!r}; remake the pool with atlas.pool.build"
            )
        if odd := [
            asked for asked in fact.further if asked.probe not in FURTHER or not asked.prompt or not asked.answers
        ]:
            raise AtlasError(
                f"{path}: fact {fact.fact_id}: further question {odd[0]}; expected a prompt, an answer and one of the "
                f"probes {', '.join(FURTHER)}; remake the pool with atlas.pool.build"
            )
        seen.add(fact.fact_id)
    return facts


def _further(row: dict[str, Any]) -> tuple[Further, ...]:
    """The further questions of a row of ``pool.parquet``."""
    asked = row.get(FURTHER_FIELD.name) or ()
    return tuple(Further(one["probe"], one["prompt"], tuple(one["answers"] or ())) for one in asked)


def read_stream(path: Path | str) -> list[StreamRow]:
    """Read a stream, in order of teaching.

    Raises AtlasError where the file is missing or truncated, lacks a column, has an empty cell, teaches a fact twice,
    or where sessions and slots do not count up without gaps.
    """
    rows = [StreamRow(row["session"], row["slot"], row["fact_id"]) for row in _rows(path, STREAM_SCHEMA)]
    per_session = sum(row.session == 1 for row in rows)
    taught: set[str] = set()
    for index, row in enumerate(rows):
        session, slot = (index // per_session + 1, index % per_session) if per_session else (1, 0)
        if (row.session, row.slot) != (session, slot):
            raise AtlasError(
                f"{path}: row {index + 1} is session {row.session}, slot {row.slot}; expected session {session}, slot "
                f"{slot}; remake the stream with atlas.pool.streams"
            )
        if row.fact_id in taught:
            raise AtlasError(f"{path}: fact {row.fact_id} is taught twice; remake it with atlas.pool.streams")
        taught.add(row.fact_id)
    if not rows or len(rows) % per_session:
        raise AtlasError(
            f"{path}: found {len(rows)} facts, expected sessions of {per_session} each; remake it with "
            "atlas.pool.streams"
        )
    return rows


def _rows(path: Path | str, schema: pa.Schema, *optional: str) -> list[dict[str, Any]]:
    """The rows of a table, every cell of ``schema`` filled, with those of the optional columns that it has."""
    table = files.read_parquet(path, schema)
    for name in schema.names:
        if missing := table.column(name).null_count:
            raise AtlasError(f"{path}: column {name!r} is empty in {plural(missing, 'row')}; every row needs a value")
    chosen = [*schema.names, *(name for name in optional if name in table.column_names)]
    rows: list[dict[str, Any]] = table.select(chosen).to_pylist()
    return rows
