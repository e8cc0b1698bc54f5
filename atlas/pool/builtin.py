"""The fact tables of Atlas: per domain ``DOMAIN.tsv`` (the facts) and ``DOMAIN.yaml`` (their prompts and sources).

A table has the columns relation, subject, answer, one fact a line, grouped by relation. The prompts of a relation are
prompts with ``{subject}`` in them; each ends right before the answer. To extend a table, add lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from atlas.errors import AtlasError
from atlas.pool.facts import UNDRAWN, Fact
from atlas.pool.rules import MIN_REPHRASES
from atlas.study.settings import explain
from atlas.workflow import files

DATA = Path(__file__).parent / "data"
HEADER = ("relation", "subject", "answer")
SUBJECT = "{subject}"  # its place in a form


def _form(text: str) -> str:
    if text.count(SUBJECT) != 1 or set(re.findall(r"{[^}]*}?|}", text)) != {SUBJECT}:
        raise ValueError("a form contains {subject} once and no other braces")
    if text != text.strip() or text[-1] in ".,;:!?":
        raise ValueError("a form ends right before the answer, without space or punctuation")
    return text


Form = Annotated[str, AfterValidator(_form)]


class Relation(BaseModel):
    """How the facts of one relation are asked for, and where they come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1, description="named reference that the facts were checked against")
    prompt: Form
    rephrases: list[Form] = Field(min_length=MIN_REPHRASES)


class Row(NamedTuple):
    """One line of a table."""

    relation: str
    subject: str
    answer: str


def domains(folder: Path = DATA) -> list[str]:
    """Names of the domains that have a table."""
    return sorted(path.stem for path in folder.glob("*.tsv"))


def read_facts(names: Iterable[str], folder: Path = DATA) -> list[Fact]:
    """All facts of the named domains, roles not yet drawn. Raises AtlasError naming file and line of what is wrong."""
    return [fact for name in names for fact in _read_domain(name, folder)]


def _read_domain(domain: str, folder: Path) -> list[Fact]:
    if domain not in domains(folder):
        raise AtlasError(f"pool.shares: no domain {domain!r}; the tables of Atlas are {', '.join(domains(folder))}")
    table, prompts = folder / f"{domain}.tsv", folder / f"{domain}.yaml"
    relations, rows = read_relations(prompts), read_rows(table)
    if missing := [row.relation for row in rows if row.relation not in relations]:
        raise AtlasError(f"{prompts}: no relation {missing[0]!r}, which {table.name} uses; add its source and prompts")
    if idle := sorted(relations.keys() - {row.relation for row in rows}):
        raise AtlasError(f"{table}: no fact of relation {idle[0]!r}, which {prompts.name} describes; add some")
    return [make_fact(domain, row, relations[row.relation]) for row in rows]


def read_relations(path: Path) -> dict[str, Relation]:
    """Relations of a domain by name. Raises AtlasError naming the key that is wrong."""
    try:
        return TypeAdapter(dict[str, Relation]).validate_python(yaml.safe_load(files.read_text(path)))
    except yaml.YAMLError as error:
        raise AtlasError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}") from None


def read_rows(path: Path) -> list[Row]:
    """Lines of a table. Raises AtlasError naming the line that lacks a column, or stands apart from its relation."""
    header, *lines = files.read_text(path).splitlines() or [""]
    if tuple(header.split("\t")) != HEADER:
        raise AtlasError(f"{path}: line 1 is {header!r}; expected the columns {', '.join(HEADER)}, tab-separated")
    rows: list[Row] = []
    finished: set[str] = set()
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if len(cells) != len(HEADER) or not all(cells):
            raise AtlasError(f"{path}: line {number} is {line!r}; expected {len(HEADER)} cells, tab-separated")
        row = Row(*cells)
        if rows and row.relation != rows[-1].relation:
            finished.add(rows[-1].relation)
        if row.relation in finished:
            raise AtlasError(f"{path}: line {number}: {row.relation!r} began further up; group lines by relation")
        rows.append(row)
    return rows


def make_fact(domain: str, row: Row, relation: Relation) -> Fact:
    """The fact of a table line, its role not yet drawn."""
    template = f"{domain}/{row.relation}"
    return Fact(
        fact_id=f"{template}/{slug(row.subject)}",
        role=UNDRAWN,
        domain=domain,
        template=template,
        prompt=_fill(relation.prompt, row.subject),
        answer=row.answer,
        rephrases=tuple(_fill(form, row.subject) for form in relation.rephrases),
        subject=row.subject,
        subject_start=relation.prompt.index(SUBJECT),
    )


def slug(text: str) -> str:
    """Lower-case letters and digits, joined by hyphens: ``slug("St. Ives") == "st-ives"``."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def _fill(form: str, subject: str) -> str:
    filled = form.replace(SUBJECT, subject)
    return filled[0].upper() + filled[1:]
