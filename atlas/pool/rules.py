"""The rules that every pool must keep, built-in or a user's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.facts import Fact, sentence

MAX_ANSWER = 24
MAX_SENTENCE = 120  # characters with the line end: training cost grows with the longest sentence
MIN_REPHRASES = 3
MIN_CHANGED = 3  # words; a swap of one word changes 1
RESERVED_DOMAIN = "all"  # the tables' name for all domains together

Problem = tuple[Fact, str]


@dataclass(frozen=True)
class Demands:
    """What is asked of a fact's paraphrases: how many, and whether each must ``differ`` in wording and order."""

    rephrases: int = MIN_REPHRASES
    different: bool = True


OURS, PUBLISHED = Demands(), Demands(rephrases=1, different=False)
"""Of pools written for Atlas, and of those that others publish, whose paraphrases are what they are."""


def check(facts: Sequence[Fact], origin: Callable[[Fact], str], demands: Demands = OURS) -> None:
    """Check every rule of this module; ``origin`` names the file that a fact stands in.

    Raises AtlasError for the first problem, one line with file and fact, and says how many more there are.
    """
    found = list(problems(facts, demands))
    if found:
        fact, text = found[0]
        more = f" (and {plural(len(found) - 1, 'more problem')})" if len(found) > 1 else ""
        raise AtlasError(f"{origin(fact)}: fact {fact.fact_id}: {text}{more}")


def problems(facts: Sequence[Fact], demands: Demands = OURS) -> Iterator[Problem]:
    """All that is wrong with a pool: facts one by one, then what facts must not share."""
    for fact in facts:
        yield from ((fact, text) for text in chain(_wrong_texts(fact), _wrong_wording(fact, demands)))
    owner: dict[str, Fact] = {}
    for fact in facts:  # a shared prompt would serve two answers, or let a taught fact stand among the placebo
        for lowered, prompt in {prompt.lower(): prompt for prompt in fact.prompts}.items():
            other = owner.setdefault(lowered, fact)
            if other is not fact:
                yield fact, f"{prompt!r} serves two answers, {other.answer!r} and {fact.answer!r}; say which is meant"
    seen: set[str] = set()
    for fact in facts:
        if fact.fact_id in seen:
            yield fact, "this fact_id is there twice; give every fact one of its own"
        seen.add(fact.fact_id)


def _wrong_texts(fact: Fact) -> Iterator[str]:
    """What is wrong with the texts of a fact by themselves: their characters, a reserved name, the subject's place."""
    named = {"fact_id": fact.fact_id, "domain": fact.domain, "template": fact.template, "prompt": fact.prompt}
    numbered = {f"rephrase {number}": prompt for number, prompt in enumerate(fact.rephrases, start=1)}
    for name, text in (named | {"answer": fact.answer} | numbered).items():
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


def _wrong_wording(fact: Fact, demands: Demands) -> Iterator[str]:
    """What is wrong between the texts of a fact: answer and prompts, their lengths, and prompts that are alike."""
    if len(fact.answer) > MAX_ANSWER:
        yield f"answer {fact.answer!r} has {len(fact.answer)} characters, at most {MAX_ANSWER}; shorten it"
    for prompt in fact.prompts:
        if fact.answer and fact.answer.lower() in prompt.lower():
            yield f"answer {fact.answer!r} leaks into {prompt!r}; reword the prompt or drop the fact"
    if len(fact.rephrases) < demands.rephrases:
        yield f"{plural(len(fact.rephrases), 'paraphrase')} in rephrases, at least {demands.rephrases}; add some"
    for prompt in fact.prompts:
        length = len(sentence(prompt, fact.answer))
        if length > MAX_SENTENCE:
            yield f"{prompt!r} with answer and line end has {length} characters, at most {MAX_SENTENCE}; shorten it"
    for one, other in combinations(fact.prompts, 2):
        if one == other:
            yield f"{one!r} is there twice; prompt and rephrases must all differ"
        elif demands.different and not differ(one, other):
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
    a, b = _words(one), _words(other)
    shared = Counter(a) & Counter(b)
    few = 2 * shared.total() <= min(len(a), len(b))
    return few or any(
        [place for place, there in enumerate(a) if there == word]
        != [place for place, there in enumerate(b) if there == word]
        for word in shared
    )


def differ(one: str, other: str) -> bool:
    """Whether two prompts differ in wording and word order, not only in one word.

    Wording: at least 3 words are new or moved (`changed_words`) and at least 1 is new. Word order: `rebuilt`.
    """
    new = Counter(_words(one)) != Counter(_words(other))
    return new and changed_words(one, other) >= MIN_CHANGED and rebuilt(one, other)


@lru_cache(maxsize=64)  # a prompt is compared with every other prompt of its fact
def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", text.lower()))
