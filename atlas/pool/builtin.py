"""The fact tables of Atlas: per domain ``DOMAIN.tsv`` (the facts) and ``DOMAIN.yaml`` (their prompts and sources).

A table has the columns relation, subject, answer, aliases, one fact a line, grouped by relation. Aliases are other
right answers, with " | " between them; a line without any has three cells. The prompts of a relation have
``{subject}`` in them, and each ends right before the answer. To extend a table, add lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from atlas.errors import AtlasError
from atlas.pool.facts import UNDRAWN, Fact
from atlas.study import strict_yaml
from atlas.study.settings import Settings, explain
from atlas.workflow import files

DATA = Path(__file__).parent / "data"
COLUMNS = ("relation", "subject", "answer", "aliases")
SEPARATOR = " | "  # between aliases
REPHRASES = 8  # of every relation
SUBJECT = "{subject}"  # its place in a prompt


def _with_subject(text: str) -> str:
    if text.count(SUBJECT) != 1 or set(re.findall(r"{[^}]*}?|}", text)) != {SUBJECT}:
        raise ValueError("a prompt contains {subject} once and no other braces")
    if text != text.strip() or text[-1] in ".,;:!?":
        raise ValueError("a prompt ends right before the answer, without space or punctuation")
    return text


PromptPattern = Annotated[str, AfterValidator(_with_subject)]


class Relation(Settings):
    """How the facts of one relation are asked for, and where they come from."""

    source: str = Field(min_length=1, description="reference that has the facts, with its edition, date or address")
    prompt: PromptPattern
    rephrases: list[PromptPattern] = Field(min_length=REPHRASES, description="the last three are never taught")


class TableLine(NamedTuple):
    """One line of a table."""

    relation: str
    subject: str
    answer: str
    aliases: str = ""  # as the table has them


def domains(folder: Path = DATA) -> list[str]:
    """Names of the domains that have a table."""
    return sorted(path.stem for path in folder.glob("*.tsv"))


def read_facts(names: Iterable[str], folder: Path = DATA) -> list[Fact]:
    """All facts of the named domains, roles not yet drawn. Raises AtlasError naming file and line of what is wrong."""
    facts: list[Fact] = []
    for domain in names:
        if domain not in domains(folder):
            known = ", ".join(domains(folder))
            raise AtlasError(f"pool.shares: no domain {domain!r}; the tables of Atlas are {known}")
        table, prompts = folder / f"{domain}.tsv", folder / f"{domain}.yaml"
        relations, lines = read_relations(prompts), read_lines(table)
        if missing := [line.relation for line in lines if line.relation not in relations]:
            raise AtlasError(
                f"{prompts}: no relation {missing[0]!r}, which {table.name} uses; add its source and prompts"
            )
        if idle := sorted(relations.keys() - {line.relation for line in lines}):
            raise AtlasError(f"{table}: no fact of relation {idle[0]!r}, which {prompts.name} describes; add some")
        facts += [make_fact(domain, line, relations[line.relation]) for line in lines]
    return facts


def read_relations(path: Path) -> dict[str, Relation]:
    """Relations of a domain by name. Raises AtlasError naming the key that is wrong."""
    try:
        return TypeAdapter(dict[str, Relation]).validate_python(strict_yaml.load(path))
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}") from None


def read_lines(path: Path) -> list[TableLine]:
    """Lines of a table. Raises AtlasError naming the line that lacks a column, or stands apart from its relation."""
    header, *rest = files.read_text(path).splitlines() or [""]
    if tuple(header.split("\t")) != COLUMNS:
        raise AtlasError(f"{path}: line 1 is {header!r}; expected the columns {', '.join(COLUMNS)}, tab-separated")
    lines: list[TableLine] = []
    finished: set[str] = set()
    for number, text in enumerate(rest, start=2):
        cells = text.split("\t")
        if len(cells) not in (len(COLUMNS) - 1, len(COLUMNS)) or not all(cells):
            raise AtlasError(
                f"{path}: line {number} is {text!r}; expected {len(COLUMNS) - 1} cells, tab-separated, and the aliases "
                "where there are any"
            )
        line = TableLine(*cells)
        if lines and line.relation != lines[-1].relation:
            finished.add(lines[-1].relation)
        if line.relation in finished:
            raise AtlasError(f"{path}: line {number}: {line.relation!r} began further up; group lines by relation")
        lines.append(line)
    return lines


def make_fact(domain: str, line: TableLine, relation: Relation) -> Fact:
    """The fact of a table line, its role not yet drawn."""
    template = f"{domain}/{line.relation}"
    prompt, *rephrases = (text.replace(SUBJECT, line.subject) for text in (relation.prompt, *relation.rephrases))
    return Fact(
        fact_id=f"{template}/{slug(line.subject)}",
        role=UNDRAWN,
        domain=domain,
        template=template,
        prompt=prompt[0].upper() + prompt[1:],
        answer=line.answer,
        rephrases=tuple(text[0].upper() + text[1:] for text in rephrases),
        aliases=tuple(line.aliases.split(SEPARATOR)) if line.aliases else (),
        subject=line.subject,
        subject_start=relation.prompt.index(SUBJECT),
    )


def slug(text: str) -> str:
    """Lower-case letters and digits, joined by hyphens: ``slug("St. Ives") == "st-ives"``."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))
