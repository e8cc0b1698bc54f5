"""The rules that every pool must keep, built-in or a user's own."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
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
    """All that is wrong with facts, see ``problems``; a row is named as ``fact`` and its fact_id."""
    return [found for _, found in problems(facts, demands)]


def problems(facts: Sequence[Fact], demands: Demands = ANY) -> list[tuple[int, Unfit]]:
    """All that is wrong with facts, by their indices: one by one, then what facts must not share, and at last facts
    that the others leave without an alternative."""
    found = [(at, *reason) for at, fact in enumerate(facts) for reason in _alone(fact, demands)]
    found += [*_shared_prompts(facts), *_shared_names(facts), *_split_groups(facts)]
    if demands.needs.alternatives:
        found += _without_alternative(facts, {at for at, *_ in found})
    return [(at, Unfit(f"fact {facts[at].fact_id}", reason, example)) for at, reason, example in found]


def askable(facts: Sequence[Fact], demands: Demands = ANY) -> tuple[list[Fact], list[Unfit]]:
    """The facts with those further questions that can be asked, and why the others cannot. A fact does not depend on
    the questions beside it."""
    prompts = {plain(prompt) for fact in facts for prompt in fact.prompts}
    kept, dropped = [], []
    for fact in facts:
        asks = []
        for further in fact.further:
            texts = {f"prompt of a {further.probe}": further.prompt}
            reason = next(
                (
                    reason
                    for answer in further.answers
                    for reason in chain(
                        _unwritten(texts | {"its answer": answer}), _unreadable(texts, answer, "its answer", demands)
                    )
                ),
                None,
            )
            if reason is None and further.probe == NEIGHBOUR and plain(further.prompt) in prompts:
                reason = "neighbour that a fact of the pool asks for, so it is not left alone", repr(further.prompt)
            if reason is None:
                asks.append(further)
            else:
                dropped.append(
                    Unfit(f"fact {fact.fact_id}", f"question not asked, the fact stays: {reason[0]}", reason[1])
                )
        kept.append(replace(fact, further=tuple(asks)) if len(asks) < len(fact.further) else fact)
    return kept, dropped


def _alone(fact: Fact, demands: Demands) -> Iterator[Reason]:
    """What is wrong with a fact by itself."""
    names = {"fact_id": fact.fact_id, "domain": fact.domain, "template": fact.template}
    prompts = dict(zip(["prompt", *_numbered("rephrase", fact.rephrases)], fact.prompts, strict=True))
    answers = dict(zip(["answer", *_numbered("alias", fact.aliases)], fact.answers, strict=True))
    yield from _unwritten(names | prompts | answers)
    for name, answer in answers.items():
        yield from dict.fromkeys(_unreadable(prompts, answer, name, demands))
    if fact.domain == RESERVED_DOMAIN:
        yield f"domain {RESERVED_DOMAIN!r}, the tables' name for all domains together; rename it", ""
    if not fact.subject_in_place:
        yield (
            "subject not in its place; give the text as the prompt has it, and where it starts",
            f"{fact.subject!r} is not at character {fact.subject_start} of {fact.prompt!r}, counted from 0",
        )
    yield from _wrong_answers(fact)
    yield from _wrong_prompts(fact, demands.different)
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


def _numbered(name: str, texts: Sequence[str]) -> list[str]:
    return [f"{name} {number}" for number in range(1, len(texts) + 1)]


def _unwritten(texts: dict[str, str]) -> Iterator[Reason]:
    """Texts that cannot stand in a line, whatever a model reads."""
    for name, text in texts.items():
        if not text.isprintable() and (control := [one for one in text if unicodedata.category(one) in CONTROL]):
            yield "line break or control character; replace it", f"{name} {text!r} has U+{ord(control[0]):04X}"
        elif not text or text != text.strip():
            yield "empty, or a space at its start or end; remove it", f"{name} {text!r}"


def _unreadable(prompts: dict[str, str], answer: str, name: str, demands: Demands) -> Iterator[Reason]:
    """What the base cannot read of an answer behind its prompts, or of which it has too many tokens."""
    most_answer, most, token = demands.longest
    for kind, prompt in prompts.items():
        if not (prompt and answer):
            continue
        try:
            sentence = demands.text.sentence(prompt, answer, kind)
        except AtlasError as error:
            unknown = [*_unknown(demands.text, {kind: prompt, name: answer})]
            yield from unknown or [("prompt and answer that the base reads as one; reword them", str(error))]
            continue
        if (length := len(sentence.tokens) - sentence.answer - 1) > most_answer:
            yield (
                f"answer of more than {plural(most_answer, token)}; shorten it",
                f"{name} {answer!r} has {plural(length, token)}",
            )
        if (length := len(sentence.tokens) - 1) > most:
            yield (
                f"sentence of more than {plural(most, token)}; shorten it",
                f"{prompt!r} with {answer!r} and the line end has {plural(length, token)}",
            )


def _unknown(text: Text, named: dict[str, str]) -> Iterator[Reason]:
    """Texts that the base cannot read."""
    for name, said in named.items():
        try:
            text.encode(said, name)
        except AtlasError as error:
            yield "character that the base cannot read; replace it", f"{said!r}: {error}"


def _wrong_answers(fact: Fact) -> Iterator[Reason]:
    """What is wrong with the answers of a fact, its aliases included."""
    for answer in fact.answers:
        if leaking := [prompt for prompt in fact.prompts if stands_in(answer, prompt)]:
            yield "answer that stands in its prompt; reword it or drop the fact", f"{answer!r} in {leaking[0]!r}"
    if twice := [answer for answer, times in Counter(fact.answers).items() if times > 1]:
        yield "answer twice among answer and aliases; give each once", repr(twice[0])


def _wrong_prompts(fact: Fact, different: bool) -> Iterator[Reason]:
    """Prompts of a fact that are alike."""
    for one, other in combinations(fact.prompts, 2):
        if one == other:
            yield "prompt twice in a fact; prompt and rephrases must all differ", repr(one)
        elif different and not differ(one, other):
            yield (
                f"paraphrases too alike: at least {MIN_CHANGED} words must change, and not all in place; reword one",
                f"{one!r} and {other!r}, {plural(changed_words(one, other), 'word')} changed",
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
        if answers[facts[at].template] <= {*facts[at].answers}:
            yield (
                at,
                "template with one answer, where `counterfactual` needs another to teach; add facts to it, or drop it",
                f"template {facts[at].template!r} has {facts[at].answer!r}",
            )
