"""The facts that a user gives to a memory: read, held against the pool's rules, and sorted by what is known already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.memory.store import KeptFact
from atlas.phrases import plural
from atlas.pool import own, rules
from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact, Unfit
from atlas.pool.rules import Demands
from atlas.study.settings import BETWEEN
from atlas.workflow import progress

TYPED = "--fact"
OWN = "own"  # domain and template of facts that are typed, as of those in files that name none
MOST = 20  # problems that are told one by one


@dataclass(frozen=True)
class GivenFact:
    """A fact, where it was given (a file, or the command line), and whether that is a file as others publish it."""

    fact: Fact
    origin: str
    published: bool = False


@dataclass(frozen=True)
class Intake:
    """What was given: facts, and in words the rows that can be none."""

    facts: list[GivenFact]
    unfit: list[str]


def read(paths: Sequence[Path], typed: Sequence[Sequence[str]]) -> Intake:
    """The facts of some files, then those of the command line, a prompt and an answer each.

    Facts that a file has as placebo are left out, and that is said. AtlasError where there are none at all.
    """
    typing = [
        Fact(f"{OWN}/{number:05d}", UNDRAWN, OWN, OWN, prompt, answer, rephrases=())
        for number, (prompt, answer) in enumerate(typed, start=1)
    ]
    sources = {str(path): own.read_pool_file(path) for path in paths} | {TYPED: own.Read(typing, [], {})}
    unfit = [f"{origin}: {one.row}: {_said(one)}" for origin, read in sources.items() for one in read.unfit]
    given: list[GivenFact] = []
    for origin, read in sources.items():
        names = {one.fact.fact_id for one in given}  # of other files, which may number theirs alike
        facts = (replace(fact, fact_id=_free(fact.fact_id, names)) for fact in read.facts)
        given += [GivenFact(fact, origin, read.published) for fact in facts]
    if placebo := sum(one.fact.role == PLACEBO for one in given):
        progress.say(f"{plural(placebo, 'fact')} with the role placebo left out: those are never taught")
    given = [replace(one, fact=replace(one.fact, role=TAUGHT)) for one in given if one.fact.role != PLACEBO]
    if not given and not unfit:
        raise AtlasError('no facts: name a file, or give some as --fact "The capital of Peru is" "Lima"')
    return Intake(given, unfit)


def check(given: Intake, model: LanguageModel) -> None:
    """Hold facts against the pool's rules and what a model can read. AtlasError that names all problems."""
    facts, origins = [one.fact for one in given.facts], {f"fact {one.fact.fact_id}": one for one in given.facts}
    demands = Demands(model.text, model.config.context, different=not any(one.published for one in given.facts))
    found = [(origins[one.row], one) for one in rules.unfit(facts, demands)]
    problems = [*given.unfit, *(f"{at.origin}: {at.fact.prompt!r}: {_said(one)}" for at, one in found)]
    if problems:
        more = [f"and {len(problems) - MOST} more"] if len(problems) > MOST else []
        raise AtlasError(f"nothing was taught: {BETWEEN.join([*problems[:MOST], *more])}")


def _said(one: Unfit) -> str:
    return f"{one.reason} (found {one.example})" if one.example else one.reason


@dataclass(frozen=True)
class Sorted:
    """Given facts beside those that a memory keeps.

    Attributes:
        new: to be taught, in their order, under names that no other fact has.
        replaced: of each new fact, by its fact_id, the kept ones whose prompts it has.
        known: kept facts that were given again just as they are.
    """

    new: list[Fact]
    replaced: dict[str, list[KeptFact]]
    known: list[KeptFact]


def sort(given: Sequence[Fact], kept: Sequence[KeptFact], taken: Sequence[str], again: bool) -> Sorted:
    """Sort facts by what is kept already; ``again``: teach those anew, too, that are known as they are.

    A fact is known by its prompts, in whatever case: files of unlike users have one fact_id for unlike facts.
    ``taken`` are the names that are in use.
    """
    owners = {prompt.lower(): one for one in kept for prompt in one.fact.prompts}
    names, out = {*taken}, Sorted([], {}, [])
    for fact in given:
        there = {id(owner): owner for prompt in fact.prompts if (owner := owners.get(prompt.lower()))}
        same = [owner for owner in there.values() if replace(owner.fact, fact_id=fact.fact_id) == fact]
        if same and not again:
            out.known.extend(same)
            continue
        name = _free(fact.fact_id, names)
        names.add(name)
        out.new.append(replace(fact, fact_id=name))
        out.replaced[name] = [*there.values()]
    return out


def _free(name: str, taken: Collection[str]) -> str:
    """The name itself, or with the first number behind it that makes it one of its own."""
    return next(one for one in chain([name], (f"{name}-{number}" for number in count(2))) if one not in taken)
