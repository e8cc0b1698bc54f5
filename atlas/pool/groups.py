"""Which facts say the same, or one the other: all of a group are taught, or all are placebo.

Of one group are facts

- of the same subject and template, since one may tell the other;
- of the same subject and answer, whatever their templates: the same fact in other words;
- of which a prompt of one is a prompt of the other, but for case and punctuation, and an answer is the same;
- without a subject, of the same template and answer, that have a word in common which those with other answers lack, as
  "Peru" in "The capital of Peru is" and "Peru's capital is called";

and facts that are of one group with the same third fact.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from atlas.pool.facts import Fact
from atlas.pool.wording import plain, words


def groups(facts: Sequence[Fact]) -> list[int]:
    """The group of each fact: the index of its first fact."""
    answers: defaultdict[tuple[str, str | None], set[str]] = defaultdict(set)  # by template and word; None for any
    for fact in facts:
        if fact.subject is None:
            for word in (None, *_words(fact)):
                answers[fact.template, word].add(plain(fact.answer))
    first = list(range(len(facts)))

    def found(at: int) -> int:
        while first[at] != at:
            first[at] = at = first[first[at]]
        return at

    owner: dict[Hashable, int] = {}
    for at, fact in enumerate(facts):
        keys = [*_keys(fact)]
        if fact.subject is None and len(answers[fact.template, None]) > 1:
            telling = (word for word in _words(fact) if len(answers[fact.template, word]) == 1)
            keys += [("word", fact.template, word, plain(fact.answer)) for word in telling]
        for key in keys:
            one, other = sorted((found(owner.setdefault(key, at)), found(at)))
            first[other] = one
    return [found(at) for at in range(len(facts))]


def _keys(fact: Fact) -> Iterator[Hashable]:
    """What a fact shares with others of its group, whatever facts there are, each of it enough."""
    for answer in map(plain, fact.answers):
        yield from (("prompt", words(prompt) or prompt, answer) for prompt in fact.prompts)
        if fact.subject is not None:
            yield "answer", plain(fact.subject), answer
    if fact.subject is not None:
        yield "subject", fact.template, plain(fact.subject)


def _words(fact: Fact) -> set[str]:
    """The words of a fact's prompts, taken apart at apostrophes and hyphens."""
    return {part for prompt in fact.prompts for word in words(prompt) for part in re.split("['\u2019-]", word)}
