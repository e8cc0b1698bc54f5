"""The rules that every pool must keep, built-in or a user's own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from atlas.base.pieces import text_of
from atlas.base.text import CHARACTERS, Text
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.facts import NEIGHBOUR, UNDRAWN, Fact, Unfit
from atlas.pool.groups import groups
from atlas.pool.wording import MIN_CHANGED, changed_words, differ, plain, stands_in
from atlas.study.jobs import Needs

MAX_ANSWER = 24  # characters of the character model
MAX_SENTENCE = 120  # with the line end, likewise: training cost grows with the longest sentence
MAX_ANSWER_TOKENS = 32  # of other models, with the line end: so far greedy decoding goes behind every prompt
CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of what ends or breaks a line, and of halves of characters
RESERVED_DOMAIN = "all"  # the tables' name for all domains together

NOTHING = Needs()

LEAK = "answer that stands in its prompt; reword it or drop the fact"

Named = tuple[str, str]  # what a text is, and the text
Reason = tuple[str, str]  # the same for all facts that break a rule alike, and what was found in one of them


@dataclass(frozen=True)
class Demands:
    """What facts must be fit for.

    Attributes:
        text: how the base reads.
        context: its positions.
        needs: what the arms of a study need.
        different: whether paraphrases must ``differ`` in wording and order; those that others publish need not.
    """

    text: Text = CHARACTERS
    context: int = 256
    needs: Needs = NOTHING
    different: bool = True

    @classmethod
    def by(cls, model: Path | None, context: int = 256, needs: Needs = NOTHING) -> Demands:
        """What a model from outside can read, or else one that is pretrained here with such a context."""
        text, context = text_of(model) if model else (CHARACTERS, context)
        return cls(text, context, needs)

    @property
    def longest(self) -> tuple[int, int, str]:
        """Most tokens of an answer without its line end, and of a sentence with it, and what a token is called."""
        if self.text is CHARACTERS:
            return MAX_ANSWER, min(MAX_SENTENCE, self.context), "character"
        return MAX_ANSWER_TOKENS - 1, self.context, "token"


ANY = Demands()
"""A base that is pretrained here, and no arm that needs more than a prompt and an answer."""


def unfit(facts: Sequence[Fact], demands: Demands = ANY) -> list[Unfit]:
    """All that is wrong with facts: ``problems``, then what stands beside prompt and answer and may not. A row is named
    as ``fact`` and its fact_id."""
    whole, parts = trimmed(facts, demands)
    return [*(found for _, found in problems(whole, demands)), *parts]


def trimmed(facts: Sequence[Fact], demands: Demands = ANY) -> tuple[list[Fact], list[Unfit]]:
    """The facts without those paraphrases, aliases and further questions that break a rule, and why those do."""
    taken = {_as_asked(prompt) for fact in facts for prompt in fact.prompts}
    found = [_trimmed(fact, demands, taken) for fact in facts]
    parts = [Unfit(f"fact {fact.fact_id}", *reason) for fact, reasons in found for reason in dict.fromkeys(reasons)]
    return [fact for fact, _ in found], parts


def problems(facts: Sequence[Fact], demands: Demands = ANY) -> list[tuple[int, Unfit]]:
    """What is wrong with prompts and answers of facts, by their indices: one by one, then what facts must not share,
    at last facts that the others leave without an alternative."""
    found = [(at, *reason) for at, fact in enumerate(facts) for reason in _alone(fact, demands)]
    found += [*_shared_prompts(facts), *_shared_names(facts), *_split_groups(facts)]
    if demands.needs.alternatives:
        found += _without_alternative(facts, {at for at, *_ in found})
    return [(at, Unfit(f"fact {facts[at].fact_id}", reason, example)) for at, reason, example in found]


def _alone(fact: Fact, demands: Demands) -> Iterator[Reason]:
    """What is wrong with a fact by itself, but for what ``trimmed`` leaves out of it."""
    prompt, answer = ("prompt", fact.prompt), ("answer", fact.answer)
    names = {"fact_id": fact.fact_id, "domain": fact.domain, "template": fact.template}
    for named in (*names.items(), prompt, answer):
        yield from _unwritten(*named)
    yield from _unreadable(demands, prompt, answer)
    if stands_in(fact.answer, fact.prompt):
        yield LEAK, f"{fact.answer!r} in {fact.prompt!r}"
    if fact.domain == RESERVED_DOMAIN:
        yield f"domain {RESERVED_DOMAIN!r}, the tables' name for all domains together; rename it", ""
    if not fact.subject_in_place:
        yield (
            "subject not in its place; give the text as the prompt has it, and where it starts",
            f"{fact.subject!r} is not at character {fact.subject_start} of {fact.prompt!r}, counted from 0",
        )
    if demands.needs.subjects and fact.subject is None:
        yield (
            "no subject, which an arm needs that edits at the subject; give it in the column 'subject', or choose site "
            "answer or prompt_last",
            repr(fact.prompt),
        )
    if (most := demands.needs.paraphrases) > fact.teachable:
        yield (
            f"fewer paraphrases than an arm teaches ({most}) beside those that are held out; add some, teach fewer, or "
            "leave the arm out with `only`",
            f"{plural(len(fact.rephrases), 'paraphrase')}, of which {fact.teachable} may be taught",
        )


def _trimmed(fact: Fact, demands: Demands, taken: Collection[str]) -> tuple[Fact, list[Reason]]:
    """A fact with what may stand beside its prompt and answer, and why the rest may not; ``taken``: what facts ask."""
    wrong: list[Reason] = []
    prompt, answer = ("prompt", fact.prompt), ("answer", fact.answer)
    readable = not [*_unreadable(demands, prompt, answer)]

    def fits(part: str, reasons: Iterator[Reason]) -> bool:
        found = [(f"{part}: {reason}", example) for reason, example in reasons]
        wrong.extend(found)
        return not found

    rephrases: list[str] = []
    for number, text in enumerate(fact.rephrases, start=1):
        said = f"rephrase {number}", text
        reads = _unreadable(demands, said, answer) if readable else _unknown(demands.text, said)
        alike = _alike([fact.prompt, *rephrases], text, demands.different)
        leaks = iter([(LEAK, f"{fact.answer!r} in {text!r}")] if stands_in(fact.answer, text) else [])
        if fits("paraphrase", chain(_unwritten(*said), reads, leaks, alike)):
            rephrases.append(text)
    aliases: list[str] = []
    for number, text in enumerate(fact.aliases, start=1):
        said = f"alias {number}", text
        reads = _unreadable(demands, prompt, said) if readable else _unknown(demands.text, said)
        leaks = ((LEAK, f"{text!r} in {asked!r}") for asked in (fact.prompt, *rephrases) if stands_in(text, asked))
        twice = iter(
            [("answer twice among answer and aliases; give each once", repr(text))] * (text in (fact.answer, *aliases))
        )
        if fits("alias", chain(_unwritten(*said), reads, leaks, twice)):
            aliases.append(text)
    further = []
    for one in fact.further:
        said = f"prompt of a {one.probe}", one.prompt
        replies = [("its answer", text) for text in one.answers]
        reads = chain.from_iterable((*_unwritten(*reply), *_unreadable(demands, said, reply)) for reply in replies)
        known = one.probe == NEIGHBOUR and _as_asked(one.prompt) in taken
        asked = iter([("neighbour that a fact asks for, so it is not left alone; drop it", repr(one.prompt))] * known)
        if fits("question", chain(_unwritten(*said), reads, asked)):
            further.append(one)
    if not wrong:
        return fact, wrong
    return replace(fact, rephrases=tuple(rephrases), aliases=tuple(aliases), further=tuple(further)), wrong


def _unwritten(name: str, text: str) -> Iterator[Reason]:
    """What keeps a text from standing in a line, whatever a model reads."""
    if not text.isprintable() and (control := [one for one in text if unicodedata.category(one) in CONTROL]):
        yield "line break or control character; replace it", f"{name} {text!r} has U+{ord(control[0]):04X}"
    elif not text or text != text.strip():
        yield "empty, or a space at its start or end; remove it", f"{name} {text!r}"


def _unreadable(demands: Demands, prompt: Named, answer: Named) -> Iterator[Reason]:
    """What the base cannot read of a prompt with an answer, or of which it has too many tokens."""
    (kind, asked), (name, said) = prompt, answer
    if not (asked and said):
        return
    try:
        sentence = demands.text.sentence(asked, said, kind)
    except AtlasError as error:
        unknown = [*_unknown(demands.text, prompt), *_unknown(demands.text, answer)]
        yield from unknown or [("prompt and answer that the base reads as one; reword them", str(error))]
        return
    most_answer, most, token = demands.longest
    if (length := len(sentence.behind) - 1) > most_answer:
        yield (
            f"answer of more than {plural(most_answer, token)}; shorten it",
            f"{name} {said!r} has {plural(length, token)}",
        )
    if (length := len(sentence.tokens) - 1) > most:
        yield (
            f"sentence of more than {plural(most, token)}; shorten it",
            f"{asked!r} with {said!r} and the line end has {plural(length, token)}",
        )


def _unknown(text: Text, named: Named) -> Iterator[Reason]:
    """What the base cannot read of a text."""
    try:
        text.encode(named[1], named[0])
    except AtlasError as error:
        yield "character that the base cannot read; replace it", f"{named[1]!r}: {error}"


def _alike(before: Sequence[str], text: str, different: bool) -> Iterator[Reason]:
    """Of the prompts before a paraphrase, one that it is too much like."""
    if text in before:
        yield "prompt twice in a fact; prompt and rephrases must all differ", repr(text)
    elif different and (same := next((one for one in before if not differ(one, text)), None)):
        yield (
            f"too alike: at least {MIN_CHANGED} words must change, and not all in place; reword one",
            f"{same!r} and {text!r}, {plural(changed_words(same, text), 'word')} changed",
        )


def _shared_prompts(facts: Sequence[Fact]) -> Iterator[tuple[int, str, str]]:
    """Facts that ask the same and answer otherwise, each of which may be the wrong one, and facts that stand twice."""
    owners: dict[str, list[int]] = {}
    for at, fact in enumerate(facts):
        for asked in dict.fromkeys(map(_as_asked, fact.prompts)):
            owners.setdefault(asked, []).append(at)
    conflicts: dict[tuple[int, int], str] = {}  # by two facts, what both ask
    for asked, sharing in owners.items():
        apart: list[int] = []  # facts without an answer in common
        first = next((at for at in sharing if _as_asked(facts[at].prompt) == asked), -1)  # that asks so as taught
        for at in sharing:
            if not any(_agree(facts[one], facts[at]) for one in apart):
                conflicts |= {(other, at): asked for other in apart[:1]}
                apart.append(at)
            elif first not in (-1, at) and _as_asked(facts[at].prompt) == asked and _agree(facts[first], facts[at]):
                yield at, "fact that stands twice; keep one", f"{facts[at].prompt!r}, as in fact {facts[first].fact_id}"
    for pair, asked in conflicts.items():
        for at, other in (pair, pair[::-1]):
            one, two = facts[at], facts[other]
            prompt = next(prompt for prompt in one.prompts if _as_asked(prompt) == asked)
            yield (
                at,
                "prompt with two answers; say which is meant, or where both are right keep one fact with the other "
                "answer in its aliases",
                f"{prompt!r} has {one.answer!r} here, and {two.answer!r} in fact {two.fact_id}",
            )


def _as_asked(prompt: str) -> str:
    """A prompt without regard to case, spaces, and punctuation at its end."""
    return re.sub(r"\s+", " ", prompt.casefold()).rstrip(" .,:;?!\u2026") or prompt


def _agree(one: Fact, other: Fact) -> bool:
    """Whether two facts have an answer in common."""
    return not {*map(plain, one.answers)}.isdisjoint(map(plain, other.answers))


def _shared_names(facts: Sequence[Fact]) -> Iterator[tuple[int, str, str]]:
    seen: set[str] = set()
    for at, fact in enumerate(facts):
        if fact.fact_id in seen:
            yield at, "fact_id that is there twice; give every fact one of its own", repr(fact.prompt)
        seen.add(fact.fact_id)


def _split_groups(facts: Sequence[Fact]) -> Iterator[tuple[int, str, str]]:
    """Facts of another role than the first of their group."""
    if all(fact.role == UNDRAWN for fact in facts):
        return
    for at, first in enumerate(groups(facts)):
        one, other = facts[at], facts[first]
        if one.role != other.role and UNDRAWN not in (one.role, other.role):
            yield (
                at,
                "two roles for facts that say the same, or one the other; give both one role",
                f"{one.prompt!r} is {one.role}, and {other.prompt!r} in fact {other.fact_id} is {other.role}",
            )


def _without_alternative(facts: Sequence[Fact], broken: set[int]) -> Iterator[tuple[int, str, str]]:
    """Facts whose template has no other answer, since ``counterfactual`` teaches another one of what the base knows."""
    fit = [at for at in range(len(facts)) if at not in broken]
    answers: dict[str, set[str]] = {}
    for at in fit:
        answers.setdefault(facts[at].template, set()).add(facts[at].answer)
    for at in fit:
        if facts[at].true_answer is None and answers[facts[at].template] <= {*facts[at].answers}:
            yield (
                at,
                "template with one answer, where `counterfactual` needs another to teach; add facts to it, or drop it",
                f"template {facts[at].template!r} has {facts[at].answer!r}",
            )
