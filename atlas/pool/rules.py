"""The rules that every pool must keep, built-in or a user's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from atlas.errors import AtlasError
from atlas.pool.facts import Fact, sentence

MAX_ANSWER = 24
MAX_SENTENCE = 120  # characters with the line end: training cost grows with the longest sentence
MIN_REPHRASES = 3
MIN_CHANGED = 3  # words; a swap of one word changes 1
RESERVED_DOMAIN = "all"  # the tables' name for all domains together

Problem = tuple[Fact, str]


@dataclass(frozen=True)
class Demands:
    """What is asked of a fact's rephrases: how many, and whether each must differ in wording and order (``differ``)."""

    rephrases: int = MIN_REPHRASES
    different: bool = True


OURS, PUBLISHED = Demands(), Demands(rephrases=1, different=False)
"""Of pools written for Atlas, and of those that others publish, whose rephrases are what they are."""


def check(facts: Sequence[Fact], origin: Callable[[Fact], str], demands: Demands = OURS) -> None:
    """Check every rule of this module; ``origin`` names the file that a fact stands in.

    Raises AtlasError for the first problem, one line with file and fact, and says how many more there are.
    """
    found = list(problems(facts, demands))
    if found:
        fact, text = found[0]
        more = f" (and {len(found) - 1} more problems)" if len(found) > 1 else ""
        raise AtlasError(f"{origin(fact)}: fact {fact.fact_id}: {text}{more}")


def problems(facts: Sequence[Fact], demands: Demands = OURS) -> Iterator[Problem]:
    """All that is wrong with a pool: facts one by one, then what facts must not share."""
    for fact in facts:
        yield from ((fact, text) for text in _wrong_characters(fact))
        yield from ((fact, text) for text in _wrong_subject(fact))
        yield from ((fact, text) for text in _wrong_answer(fact))
        yield from ((fact, text) for text in _wrong_forms(fact, demands))
        yield from ((fact, text) for text in _alike_forms(fact, demands))
    yield from _shared_forms(facts)
    yield from _shared_ids(facts)


def changed_words(one: str, other: str) -> int:
    """How many words of the longer form are new or moved, compared with the other form.

    It is the longer form's word count less the longest common subsequence of words (lower case, no punctuation):
    the words that both prompts have in the same order. Swapping one word gives 1, swapping two gives 2, turning
    "The capital of Peru is" into "Peru has as its capital" gives 4.
    """
    a, b = _words(one), _words(other)
    return max(len(a), len(b)) - _common_subsequence(a, b)


def rebuilt(one: str, other: str) -> bool:
    """Whether two prompts are built differently: a shared word stands at another place, counted in words.

    Forms that share at most half of the shorter one's words (the subject, say) are built differently anyway.
    """
    a, b = _words(one), _words(other)
    shared = Counter(a) & Counter(b)
    few = 2 * shared.total() <= min(len(a), len(b))
    return few or any(_places(word, a) != _places(word, b) for word in shared)


def differ(one: str, other: str) -> bool:
    """Whether two prompts differ in wording and word order, not only in one word.

    Wording: at least 3 words are new or moved (`changed_words`) and at least 1 is new. Word order: `rebuilt`.
    """
    new = Counter(_words(one)) != Counter(_words(other))
    return new and changed_words(one, other) >= MIN_CHANGED and rebuilt(one, other)


def _places(word: str, words: Sequence[str]) -> list[int]:
    return [place for place, other in enumerate(words) if other == word]


@lru_cache(maxsize=64)  # a form is compared with every other form of its fact
def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower()))


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, row by row."""
    row = [0] * (len(b) + 1)
    for word in a:
        above, row = row, [0]
        for column, other in enumerate(b):
            row.append(above[column] + 1 if word == other else max(above[column + 1], row[column]))
    return row[-1]


def _wrong_characters(fact: Fact) -> Iterator[str]:
    named = {"fact_id": fact.fact_id, "domain": fact.domain, "template": fact.template, "prompt": fact.prompt}
    numbered = {f"rephrase {number}": form for number, form in enumerate(fact.rephrases, start=1)}
    for name, text in (named | {"answer": fact.answer} | numbered).items():
        bad = next((character for character in text if not 32 <= ord(character) < 127), None)
        if bad is not None:
            yield f"{name} {text!r} has {bad!r} (U+{ord(bad):04X}); only printable ASCII is known, so replace it"
        elif not text or text != text.strip():
            yield f"{name} {text!r} is empty or has a space at its start or end; remove it"
    if fact.domain == RESERVED_DOMAIN:
        yield f"domain {RESERVED_DOMAIN!r} is the tables' name for all domains together; rename it"


def _wrong_subject(fact: Fact) -> Iterator[str]:
    if not fact.subject_in_place:
        yield (
            f"subject {fact.subject!r} is not at character {fact.subject_start} of {fact.prompt!r} (counted from 0); "
            "give the text as the prompt has it, and where it starts"
        )


def _wrong_answer(fact: Fact) -> Iterator[str]:
    if len(fact.answer) > MAX_ANSWER:
        yield f"answer {fact.answer!r} has {len(fact.answer)} characters, at most {MAX_ANSWER}; shorten it"
    for form in fact.prompts:
        if fact.answer and fact.answer.lower() in form.lower():
            yield f"answer {fact.answer!r} leaks into {form!r}; reword the prompt or drop the fact"


def _wrong_forms(fact: Fact, demands: Demands) -> Iterator[str]:
    if len(fact.rephrases) < demands.rephrases:
        yield f"{len(fact.rephrases)} rephrases, at least {demands.rephrases}; add some"
    for form in fact.prompts:
        length = len(sentence(form, fact.answer))
        if length > MAX_SENTENCE:
            yield f"{form!r} with answer and line end has {length} characters, at most {MAX_SENTENCE}; shorten it"


def _alike_forms(fact: Fact, demands: Demands) -> Iterator[str]:
    for one, other in combinations(fact.prompts, 2):
        if one == other:
            yield f"{one!r} is there twice; prompt and rephrases must all differ"
        elif demands.different and not differ(one, other):
            yield (
                f"{one!r} and {other!r} are too alike: {changed_words(one, other)} words changed, at least "
                f"{MIN_CHANGED} must, and not all in place; reword one of them"
            )


def _shared_forms(facts: Iterable[Fact]) -> Iterator[Problem]:
    """A form asked of two facts: it would serve two answers, or let a taught fact stand among the placebo."""
    owner: dict[str, Fact] = {}
    for fact in facts:
        for form in {form.lower(): form for form in fact.prompts}.values():
            other = owner.setdefault(form.lower(), fact)
            if other is not fact:
                yield fact, f"{form!r} serves two answers, {other.answer!r} and {fact.answer!r}; say which is meant"


def _shared_ids(facts: Iterable[Fact]) -> Iterator[Problem]:
    seen: set[str] = set()
    for fact in facts:
        if fact.fact_id in seen:
            yield fact, "this fact_id is there twice; give every fact one of its own"
        seen.add(fact.fact_id)
