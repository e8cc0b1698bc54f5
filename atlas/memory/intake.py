"""The facts that a user gives to a memory: read, held against the pool's rules, and sorted by what is known already."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.memory.store import KeptFact
from atlas.phrases import plural
from atlas.pool import own, rules
from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact
from atlas.study.settings import BETWEEN
from atlas.ttt.engine.lines import line
from atlas.workflow import progress

TYPED = "--fact"
OWN = "own"  # domain and template of facts that are typed, as of those in files that name none
MOST = 20  # problems that are told one by one


@dataclass(frozen=True)
class GivenFact:
    """A fact, and where it was given: a file, or the command line."""

    fact: Fact
    origin: str


def read(paths: Sequence[Path], typed: Sequence[Sequence[str]]) -> list[GivenFact]:
    """The facts of some files, then those of the command line, a prompt and an answer each.

    Facts that a file has as placebo are left out, and that is said. AtlasError where there are none at all.
    """
    sources = {str(path): own.read_facts(path) for path in paths}
    sources[TYPED] = [
        Fact(f"{OWN}/{number:05d}", UNDRAWN, OWN, OWN, prompt, answer, rephrases=())
        for number, (prompt, answer) in enumerate(typed, start=1)
    ]
    given: list[GivenFact] = []
    for origin, facts in sources.items():
        names = {one.fact.fact_id for one in given}  # of other files, which may number theirs alike
        given += [GivenFact(replace(fact, fact_id=_free(fact.fact_id, names)), origin) for fact in facts]
    if placebo := sum(one.fact.role == PLACEBO for one in given):
        progress.say(f"{plural(placebo, 'fact')} with the role placebo left out: those are never taught")
    given = [replace(one, fact=replace(one.fact, role=TAUGHT)) for one in given if one.fact.role != PLACEBO]
    if not given:
        raise AtlasError('no facts: name a file, or give some as --fact "The capital of Peru is" "Lima"')
    return given


def check(given: Sequence[GivenFact], model: LanguageModel) -> None:
    """Hold facts against the pool's rules and what a model can read. AtlasError that names all problems."""
    facts, origins = [one.fact for one in given], {id(one.fact): one.origin for one in given}
    different = not any(own.is_published(one.origin) for one in given)
    found = [*rules.problems(facts, different), *_unreadable(facts, model)]
    if found:
        said = [f"{origins[id(fact)]}: {fact.prompt!r}: {text}" for fact, text in found[:MOST]]
        said += [f"and {len(found) - MOST} more"] if len(found) > MOST else []
        raise AtlasError(f"nothing was taught: {BETWEEN.join(said)}")


def _unreadable(facts: Sequence[Fact], model: LanguageModel) -> Iterator[rules.Problem]:
    most = model.config.context
    for fact in facts:
        for prompt in fact.prompts:
            try:
                tokens = len(line(prompt, fact.answer, "", model.text).tokens)
            except AtlasError:
                continue  # the rules have said it
            if tokens > most + 1:
                yield (
                    fact,
                    f"{prompt!r} with its answer has {tokens} tokens, the model has room for {most + 1}; shorten it",
                )


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
