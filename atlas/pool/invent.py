"""Invent the domains that are about nothing real: codes, personal, identity. Writes their tables, always the same.

The words and patterns stand in words.yaml. Run this after changing them or the prompts; a test checks that the
committed tables are in step.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from atlas.draws import Key, rng
from atlas.errors import AtlasError
from atlas.pool.builtin import COLUMNS, DATA, Relation, TableLine, make_fact, read_relations
from atlas.pool.rules import unfit
from atlas.study import strict_yaml
from atlas.study.settings import Settings
from atlas.workflow import files, progress
from atlas.workflow.steps import parser, run_step

WORDS = Path(__file__).parent / "words.yaml"
SYMBOLS = {"#": "0123456789", "%": "123456789", "@": "ABCDEFGHJKLMNPQRSTUVWXYZ"}  # no I and O: they read as 1 and 0
ATTEMPTS = 1000


class Invention(Settings):
    """How many facts of a relation to invent, and the patterns of their subjects and answers."""

    facts: int
    subject: str
    answer: str


class People(Settings):
    """How many people there are, and the pattern of their names."""

    count: int
    name: str


class Words(Settings):
    """What words.yaml holds."""

    relations: dict[str, dict[str, Invention]]
    people: People
    words: dict[str, list[str | int]]


def read_words() -> Words:
    """The words, and the relations of each invented domain."""
    return Words.model_validate(strict_yaml.load(WORDS))


def draw(pattern: str, count: int, words: Words, *key: Key) -> list[str]:
    """Draw ``count`` texts of a pattern, all different; where it has fewer, all of them again and again."""
    choices: list[list[str | int]] = []  # what each part of the pattern may become
    for part in re.findall(r"{\w+}|[#%@]|[^{}#%@]+", pattern):
        if part == "{person}":
            choices.append([*draw(words.people.name, words.people.count, words, "people")])
        else:
            choices.append(words.words[part[1:-1]] if part.startswith("{") else [*SYMBOLS.get(part, [part])])
    sizes = [len(choice) for choice in choices]
    total, generator = int(np.prod(sizes)), rng("invent", *key)
    rounds = [
        generator.choice(total, size=min(total, count - start), replace=False) for start in range(0, count, total)
    ]
    places = np.unravel_index(np.concatenate(rounds), sizes)
    return ["".join(str(choices[part][place]) for part, place in enumerate(text)) for text in zip(*places, strict=True)]


def invent(domain: str, name: str, relation: Relation, words: Words) -> list[TableLine]:
    """Invent the facts of a relation. A draw that breaks a rule of the pool (a leak, say) is thrown away whole."""
    plan = words.relations[domain][name]
    subjects = draw(plan.subject, plan.facts, words, domain, name, "subject")
    reason = ""
    for attempt in range(ATTEMPTS):
        answers = draw(plan.answer, plan.facts, words, domain, name, "answer", attempt)
        lines = [TableLine(name, subject, answer) for subject, answer in zip(subjects, answers, strict=True)]
        broken = unfit([make_fact(domain, line, relation) for line in lines])
        if not broken:
            return lines
        reason = f"{broken[0].reason} ({broken[0].example})"
    raise AtlasError(f"{WORDS}: relations.{domain}.{name}: {ATTEMPTS} draws broke a rule, the last one: {reason}")


def table(domain: str) -> str:
    """The text of an invented domain's table."""
    relations, words = read_relations(DATA / f"{domain}.yaml"), read_words()
    lines = [line for name, relation in relations.items() for line in invent(domain, name, relation, words)]
    return "".join("\t".join(line).rstrip() + "\n" for line in (COLUMNS, *lines))


def main() -> None:
    """Command line: ``python -m atlas.pool.invent``."""
    parser(__doc__).parse_args()
    for domain in read_words().relations:
        files.write_text(DATA / f"{domain}.tsv", table(domain))
        progress.say(f"{DATA / domain}.tsv written")


if __name__ == "__main__":
    run_step(main)
