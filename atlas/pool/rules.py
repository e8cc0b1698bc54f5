"""The rules that every pool must keep, built-in or a user's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, combinations

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.facts import Fact, sentence

MAX_ANSWER = 24
MAX_SENTENCE = 120  # characters with the line end: training cost grows with the longest sentence
MIN_CHANGED = 3  # words; a swap of one word changes 1
RESERVED_DOMAIN = "all"  # the tables' name for all domains together

Problem = tuple[Fact, str]


def check(facts: Sequence[Fact], origin: Callable[[Fact], str], different: bool = True) -> None:
    """Check every rule of this module; ``origin`` names the file that a fact stands in.

    ``different``: whether paraphrases must ``differ`` in wording and order; those that others publish need not.

    Raises AtlasError for the first problem, one line with file and fact, and says how many more there are.
    """
    found = list(problems(facts, different))
    if found:
        fact, text = found[0]
        more = f" (and {plural(len(found) - 1, 'more problem')})" if len(found) > 1 else ""
        raise AtlasError(f"{origin(fact)}: fact {fact.fact_id}: {text}{more}")


def problems(facts: Sequence[Fact], different: bool = True) -> Iterator[Problem]:
    """All that is wrong with a pool: facts one by one, then what facts must not share."""
    for fact in facts:
        yield from (
            (fact, text) for text in chain(_wrong_texts(fact), _wrong_answers(fact), _wrong_prompts(fact, different))
        )
    owner: dict[str, Fact] = {}
    for fact in facts:  # a shared prompt would serve two answers, or let a taught fact stand among the placebo
        for lowered, prompt in {prompt.lower(): prompt for prompt in fact.prompts}.items():
            other = owner.setdefault(lowered, fact)
            if other is not fact:
                yield (
                    fact,
                    f"{prompt!r} serves two answers, {other.answer!r} and {fact.answer!r}; say which is meant, or "
                    "where both are right keep one fact with the other answer in its aliases",
                )
    seen: set[str] = set()
    for fact in facts:
        if fact.fact_id in seen:
            yield fact, "this fact_id is there twice; give every fact one of its own"
        seen.add(fact.fact_id)
    first: dict[tuple[str, ...], Fact] = {}
    for fact in facts:
        other = first.setdefault(fact.group, fact)
        if other.role != fact.role:
            yield (
                fact,
                f"subject {fact.subject!r} of template {fact.template!r} is {other.role} in fact {other.fact_id} and "
                f"{fact.role} here, where one may tell the other; give both one role, or each a template of its own",
            )


def _wrong_texts(fact: Fact) -> Iterator[str]:
    """What is wrong with the texts of a fact by themselves: their characters, a reserved name, the subject's place."""
    named = {"fact_id": fact.fact_id, "domain": fact.domain, "template": fact.template, "prompt": fact.prompt}
    numbered = {f"rephrase {number}": prompt for number, prompt in enumerate(fact.rephrases, start=1)}
    others = {f"alias {number}": alias for number, alias in enumerate(fact.aliases, start=1)}
    for name, text in (named | {"answer": fact.answer} | others | numbered).items():
        bad = next((character for character in text if not 32 <= ord(character) < 127), None)
        if bad is not None:
            yield f"{name} {text!r} has {bad!r} (U+{ord(bad):04X}); only printable ASCII is known, so replace it"
        elif not text or text != text.strip():
            yield f"{name} {text!r} is empty or has a space at its start or end; remove it"
    if fact.domain == RESERVED_DOMAIN:
        yield f"domain {RESERVED_DOMAIN!r} is the tables' name for all domains together; rename it"
    if not fact.subject_in_place:
        yield (
            f"subject {fact.subject!r} is not at character {fact.subject_start} of {fact.prompt!r} (counted from 0); "
            "give the text as the prompt has it, and where it starts"
        )


def _wrong_answers(fact: Fact) -> Iterator[str]:
    """What is wrong with the answers of a fact, its aliases included: their lengths, leaks into prompts, repeats."""
    for kind, answer in zip(("answer", *("alias" for _ in fact.aliases)), fact.answers, strict=True):
        if len(answer) > MAX_ANSWER:
            yield f"{kind} {answer!r} has {len(answer)} characters, at most {MAX_ANSWER}; shorten it"
        for prompt in fact.prompts:
            if answer and answer.lower() in prompt.lower():
                yield f"{kind} {answer!r} leaks into {prompt!r}; reword the prompt or drop the fact"
    if twice := [answer for answer, times in Counter(fact.answers).items() if times > 1]:
        yield f"{twice[0]!r} is there twice among answer and aliases; give each once"


def _wrong_prompts(fact: Fact, different: bool) -> Iterator[str]:
    """What is wrong with the prompts of a fact: their lengths, and prompts that are alike."""
    for prompt in fact.prompts:
        length = len(sentence(prompt, fact.answer))
        if length > MAX_SENTENCE:
            yield f"{prompt!r} with answer and line end has {length} characters, at most {MAX_SENTENCE}; shorten it"
    for one, other in combinations(fact.prompts, 2):
        if one == other:
            yield f"{one!r} is there twice; prompt and rephrases must all differ"
        elif different and not differ(one, other):
            yield (
                f"{one!r} and {other!r} are too alike: {plural(changed_words(one, other), 'word')} changed, at least "
                f"{MIN_CHANGED} must, and not all in place; reword one of them"
            )


def changed_words(one: str, other: str) -> int:
    """How many words of the longer prompt are new or moved, compared with the other prompt.

    It is the longer prompt's word count less the longest common subsequence of words (lower case, no punctuation):
    the words that both prompts have in the same order. Swapping one word gives 1, swapping two gives 2, turning
    "The capital of Peru is" into "Peru has as its capital" gives 4.
    """
    a, b = _words(one), _words(other)
    row = [0] * (len(b) + 1)  # lengths of the longest common subsequences of a's words so far and b's first ones
    for word in a:
        above, row = row, [0]
        for column, candidate in enumerate(b):
            row.append(above[column] + 1 if word == candidate else max(above[column + 1], row[column]))
    return max(len(a), len(b)) - row[-1]


def rebuilt(one: str, other: str) -> bool:
    """Whether two prompts are built differently: a shared word stands at another place, counted in words.

    Prompts that share at most half of the shorter one's words (the subject, say) are built differently anyway.
    """
    few = 2 * _shared(one, other) <= min(len(_words(one)), len(_words(other)))
    a, b = _places(one), _places(other)
    return few or any(places != b[word] for word, places in a.items() if word in b)


def differ(one: str, other: str) -> bool:
    """Whether two prompts differ in wording and word order, not only in one word.

    Wording: at least 3 words are new or moved (`changed_words`) and at least 1 is new. Word order: `rebuilt`.
    """
    new = max(len(_words(one)), len(_words(other))) - _shared(one, other)  # as many have changed in any case
    return new > 0 and (new >= MIN_CHANGED or changed_words(one, other) >= MIN_CHANGED) and rebuilt(one, other)


def _shared(one: str, other: str) -> int:
    """How many words two prompts have in common, wherever they stand."""
    a, b = _places(one), _places(other)
    return sum(min(len(places), len(b[word])) for word, places in a.items() if word in b)


@lru_cache(maxsize=64)  # a prompt is compared with every other prompt of its fact
def _places(text: str) -> dict[str, list[int]]:
    """Where each word stands, counted in words."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(_words(text)):
        places.setdefault(word, []).append(place)
    return places


@lru_cache(maxsize=64)
def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower()))
