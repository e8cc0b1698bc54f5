"""Which facts say the same, or one the other: all of a group are taught, or all are placebo.

Of one group are facts

- of the same subject and template, since one may tell the other;
- of the same subject and answer, whatever their templates: the same fact in other words;
- of which a prompt of one is a prompt of the other, but for case and punctuation, and an answer is the same;
- without a subject, of the same template and answer, that have a word in common which no fact with another answer has,
  as "Peru" in "The capital of Peru is" and "Peru's capital is called";

and facts that are of one group with the same third fact.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence

from atlas.pool.facts import Fact
from atlas.pool.wording import plain, words


def groups(facts: Sequence[Fact]) -> list[int]:
    """The group of each fact: the index of its first fact."""
    answers: dict[str, set[str]] = {}  # of the facts that have a word
    for fact in facts if any(fact.subject is None for fact in facts) else ():
        for word in _words(fact):
            answers.setdefault(word, set()).add(plain(fact.answer))
    telling = {word for word, given in answers.items() if len(given) == 1}
    first = list(range(len(facts)))

    def found(at: int) -> int:
        while first[at] != at:
            first[at] = at = first[first[at]]
        return at

    owner: dict[Hashable, int] = {}
    for at, fact in enumerate(facts):
        for key in _keys(fact, telling):
            one, other = sorted((found(owner.setdefault(key, at)), found(at)))
            first[other] = one
    return [found(at) for at in range(len(facts))]


def _keys(fact: Fact, telling: set[str]) -> Iterator[Hashable]:
    """What a fact shares with others of its group, each of it enough."""
    answers = [plain(answer) for answer in fact.answers]
    for answer in answers:
        yield from (("prompt", words(prompt) or prompt, answer) for prompt in fact.prompts)
    if fact.subject is None:
        yield from (("word", fact.template, word, answers[0]) for word in _words(fact) & telling)
    else:
        yield "subject", fact.template, plain(fact.subject)
        yield from (("answer", plain(fact.subject), answer) for answer in answers)


def _words(fact: Fact) -> set[str]:
    """The words of a fact's prompts, taken apart at apostrophes and hyphens."""
    return {part for prompt in fact.prompts for word in words(prompt) for part in re.split("['\u2019-]", word)}
