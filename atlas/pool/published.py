"""Files of facts as others publish them, each known by its keys.

A prompt ends before its answer, so a template or sentence that has the answer elsewhere gives no fact. Spaces around
texts are dropped. The keys that are read are the fields of the classes below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, BeforeValidator, Field

from atlas.pool.cells import Row, Text, Texts, UnfitError, flat, placed
from atlas.pool.facts import HOP, NEIGHBOUR, REVERSED, UNDRAWN, Fact, Further

SUBJECT_HOLE = "[X]"  # of LAMA and ParaRel
HOLES = ("[Y]", "[MASK]", "____")  # places of the answer
NOTHING = "<|endoftext|>"  # what some files have in place of an answer that is not known
NO_END = "the answer is not at the end; a prompt must end before it"


Sentences = Annotated[tuple[Text, ...], BeforeValidator(lambda cell: [cell] if isinstance(cell, str) else cell)]
"""One sentence or a list; a template may begin with ``[X]``, as a list does."""


@dataclass
class Publication:
    """What is known while the records of a file are read, one after the other."""

    relation: str  # what a file is called whose records do not name their relation
    templates: Mapping[str, Sequence[str]]  # by relation, of files beside it
    number: int = 0  # of the record, from 1 on
    left: set[str] = field(default_factory=set)  # what the record has and is not used

    def ending(self, texts: Iterable[str]) -> list[str]:
        """Templates or sentences up to the place of their answer, of those that have it at the end."""
        found = []
        for text in texts:
            plain = " ".join(text.split()).rstrip(" .")
            hole = next((hole for hole in HOLES if plain.endswith(hole)), None)
            if hole and plain.count(hole) == 1:
                found.append(plain.removesuffix(hole).strip())
            else:
                self.left.add("prompts (the answer is not at the end)")
        return found

    def fact(
        self,
        template: str,
        name: str,
        prompt: str,
        answers: Iterable[str],
        subject: str | None = None,
        start: int | None = None,
        rephrases: Iterable[str] = (),
        true: Any = None,
        further: Iterable[Further] = (),
    ) -> Fact:
        """A fact of a record: aliases are the answers but the first, the subject stands where it is found first.

        Raises UnfitError where there is no answer.
        """
        right = flat([*answers])
        if not right:
            raise UnfitError("no answer; expected text", repr(prompt))
        if subject and start is None:
            start = next(iter(placed(subject, prompt)), None)
            self.left |= {"subject (not in the prompt)"} if start is None else set()
        asked = dict.fromkeys(further)
        if any(not one.answers for one in asked):
            self.left.add("questions (without an answer)")
        return Fact(
            fact_id=f"{template}/{name}",
            role=UNDRAWN,
            domain=template.split("/")[0],
            template=template,
            prompt=prompt,
            answer=right[0],
            rephrases=tuple(text for text in flat([*rephrases]) if text != prompt),
            subject=subject if start is not None else None,
            subject_start=start,
            true_answer=next((text for text in flat(true) if text not in right and text != NOTHING), None),
            aliases=right[1:],
            further=tuple(one for one in asked if one.answers),
        )


class Shape(Row):
    """A record as others publish it. A file has the shape if one of its records has all of ``marks`` as keys."""

    name: ClassVar[str]
    marks: ClassVar[frozenset[str]]
    repeats: ClassVar[bool] = False  # whether several records have one fact, each with more questions

    def facts(self, source: Publication) -> Iterator[Fact]:
        """The facts of the record. Raises UnfitError where it can be none."""
        raise NotImplementedError


class _Target(Row):
    text: Text = Field(alias="str")


class _Rewrite(Row):
    prompt: Text
    subject: Text
    target_new: _Target
    target_true: _Target | None = None
    relation_id: Text
    question: Text | None = None

    def fact(self, source: Publication, shape: str, name: str, aliases: Sequence[str] = (), **more: Any) -> Fact:
        """The fact of the rewrite. Raises UnfitError where the prompt has not one place for the subject."""
        if self.prompt.count("{}") != 1:
            raise UnfitError("requested_rewrite.prompt: expected {} once, for the subject", repr(self.prompt))
        return source.fact(
            f"{shape}/{self.relation_id}",
            name,
            self.prompt.replace("{}", self.subject),
            (self.target_new.text, *aliases),
            subject=self.subject,
            start=self.prompt.index("{}"),
            true=self.target_true and self.target_true.text,
            **more,
        )


class _CounterFact(Shape):
    """CounterFact (Meng et al. 2022, arXiv 2202.05262): an answer for the subject in place of the true one."""

    name = "CounterFact"
    marks = frozenset({"requested_rewrite"})
    case_id: Text
    requested_rewrite: _Rewrite
    paraphrase_prompts: Texts = ()
    neighborhood_prompts: Texts = ()

    def facts(self, source: Publication) -> Iterator[Fact]:
        asked = self.requested_rewrite
        true = asked.target_true and (asked.target_true.text,)
        neighbours = [Further(NEIGHBOUR, prompt, true or ()) for prompt in self.neighborhood_prompts]
        rephrases = self.paraphrase_prompts
        yield asked.fact(source, "counterfact", self.case_id, rephrases=rephrases, further=neighbours)


class _SingleHop(Row):
    answer: Text
    answer_alias: Texts = ()


class _Mquake(Shape):
    """MQuAKE (Zhong et al. 2023, arXiv 2305.14795): one edit or several, and what follows from all of them."""

    name = "MQuAKE"
    marks = frozenset({"requested_rewrite", "questions"})
    repeats = True
    case_id: Text
    requested_rewrite: Annotated[tuple[_Rewrite, ...], Field(min_length=1)]
    questions: Texts = ()
    new_answer: Text
    new_answer_alias: Texts = ()
    new_single_hops: tuple[_SingleHop, ...] = ()

    def facts(self, source: Publication) -> Iterator[Fact]:
        hops = [Further(HOP, question, (self.new_answer, *self.new_answer_alias)) for question in self.questions]
        if len(self.requested_rewrite) > 1:  # no fact alone makes them right
            hops = []
            source.left.add("questions (of several edits)")
        for number, asked in enumerate(self.requested_rewrite, start=1):
            new = asked.target_new.text
            aliases = [alias for hop in self.new_single_hops if hop.answer == new for alias in hop.answer_alias]
            rephrases = [asked.question] if asked.question else []
            yield asked.fact(source, "mquake", f"{self.case_id}.{number}", aliases, rephrases=rephrases, further=hops)


class _Zsre(Shape):
    """zsRE (Levy et al. 2017) as Mitchell et al. 2022 and Meng et al. 2023 publish it: the first answer is taught."""

    name = "zsRE"
    marks = frozenset({"src", "answers"})
    subject: Text
    src: Text
    answers: Annotated[Texts, Field(min_length=1)]
    rephrase: Text | None = None
    loc: Text | None = None
    loc_ans: Any = None

    def facts(self, source: Publication) -> Iterator[Fact]:
        loc = (self.loc or "").removeprefix("nq question: ")
        yield source.fact(
            "zsre",
            f"{source.number:05d}",
            self.src,
            self.answers,
            subject=self.subject,
            rephrases=[self.rephrase] if self.rephrase else [],
            further=[Further(NEIGHBOUR, loc if loc.endswith("?") else f"{loc}?", flat(self.loc_ans))] if loc else [],
        )


class _KnowEdit(Shape):
    """EasyEdit and KnowEdit (Zhang et al. 2024, arXiv 2401.01286), that is its zsRE, Wiki-recent and Wiki-counterfact.

    Prompts with another name of the subject are paraphrases; of the rest of ``portability`` those called inverse or
    reversed ask for the subject, others for what follows; ``locality`` is what stays.
    """

    name = "EasyEdit or KnowEdit"
    marks = frozenset({"prompt", "target_new"})
    prompt: Text
    subject: Text | None = None
    target_new: Any
    ground_truth: Any = None
    rephrase_prompt: Texts = Field((), validation_alias=AliasChoices("rephrase_prompt", "rephrase"))
    portability: dict[str, Any] = Field(default_factory=dict)
    locality: dict[str, Any] = Field(default_factory=dict)
    locality_prompt: Text | None = None
    locality_ground_truth: Any = None

    def facts(self, source: Publication) -> Iterator[Fact]:
        rephrases, right, asked = list(self.rephrase_prompt), list(flat(self.target_new)), []
        for kind, tests in self.locality.items():
            asked += [Further(NEIGHBOUR, *one) for one in _questions(source, f"locality.{kind}", tests)]
        if self.locality_prompt:
            asked.append(Further(NEIGHBOUR, self.locality_prompt, flat(self.locality_ground_truth)))
        for kind, tests in self.portability.items():
            probe = REVERSED if re.search("inverse|reverse", kind, re.IGNORECASE) else HOP
            for prompt, said in _questions(source, f"portability.{kind}", tests):
                if "alias" not in kind.lower():
                    asked.append(Further(probe, prompt, said))
                elif right and right[0] in said:
                    rephrases.append(prompt)
                    right += said
                else:
                    source.left.add(f"portability.{kind}")
        yield source.fact(
            "knowedit",
            f"{source.number:05d}",
            self.prompt,
            right,
            subject=self.subject,
            rephrases=rephrases,
            true=self.ground_truth,
            further=asked,
        )


def _questions(source: Publication, key: str, tests: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Prompts with their right answers: objects of one each, or one object with lists of both."""
    for test in tests if isinstance(tests, list) else [tests]:
        prompt, right = (test.get("prompt"), test.get("ground_truth")) if isinstance(test, dict) else (None, None)
        if isinstance(prompt, list) and isinstance(right, list) and len(prompt) == len(right):
            yield from ((str(one), flat(answers)) for one, answers in zip(prompt, right, strict=True))
        elif isinstance(prompt, str):
            yield prompt.strip(), flat(right)
        else:
            source.left.add(key)


class _Right(Row):
    value: Text
    aliases: Texts = ()


class _Query(Row):
    prompt: Text
    answers: tuple[_Right, ...] = ()
    target_ids: Texts = ()

    @property
    def right(self) -> tuple[str, ...]:
        return flat([[one.value, *one.aliases] for one in self.answers])


class _Test(Row):
    test_queries: tuple[_Query, ...] = ()


class _Sentence(Row):
    prompt: Text


class _Edit(Row):
    prompt: Text
    relation: Text
    subject_id: Text | None = None
    original_fact: _Sentence | None = None


class _Ripple(Shape):
    """RippleEdits (Cohen et al. 2023, arXiv 2307.12976): the edit is a sentence with the new answer at its end.

    The answer is what stands behind the verb; the sentence of the original fact, where there is one, has the same
    words before it.
    """

    name = "RippleEdits"
    marks = frozenset({"edit", "example_type"})
    edit: _Edit
    logical: tuple[_Test, ...] = Field((), alias="Logical_Generalization")
    composed: tuple[_Test, ...] = Field((), alias="Compositionality_I")
    composed_to: tuple[_Test, ...] = Field((), alias="Compositionality_II")
    aliased: tuple[_Test, ...] = Field((), alias="Subject_Aliasing")
    specific: tuple[_Test, ...] = Field((), validation_alias=AliasChoices("Relation_Specifity", "Relation_Specificity"))
    forgotten: tuple[_Test, ...] = Field((), alias="Forgetfulness")

    def facts(self, source: Publication) -> Iterator[Fact]:
        sentence, original = self.edit.prompt, self.edit.original_fact.prompt if self.edit.original_fact else None
        verbs = [found.end() for found in re.finditer(r" (is followed by|follows|is|are)(?= )", sentence)]
        end = next((at for at in reversed(verbs) if not original or original.startswith(f"{sentence[:at]} ")), None)
        if end is None:
            raise UnfitError("edit.prompt: no verb before an answer", repr(sentence))
        answer = sentence[end:].strip().removesuffix(".")
        same = [
            (query.prompt, one)
            for test in self.aliased
            for query in test.test_queries
            for one in query.answers
            if answer in (one.value, *one.aliases)
        ]
        asked = [
            Further(REVERSED if self.edit.subject_id in query.target_ids else HOP, query.prompt, query.right)
            for test in (*self.logical, *self.composed, *self.composed_to)
            for query in test.test_queries
        ]
        asked += [
            Further(NEIGHBOUR, query.prompt, query.right)
            for test in (*self.specific, *self.forgotten)
            for query in test.test_queries
        ]
        yield source.fact(
            f"ripple/{self.edit.relation}",
            f"{source.number:05d}",
            sentence[:end],
            (answer, *(text for _, one in same for text in (one.value, *one.aliases))),
            rephrases=[prompt for prompt, _ in same],
            true=original and original[end:].strip().removesuffix("."),
            further=asked,
        )


class _Evidence(Row):
    masked_sentence: Text | None = None


class _Lama(Shape):
    """LAMA (Petroni et al. 2019, arXiv 1909.01066), T-REx above all, and ParaRel (Elazar et al. 2021, 2102.01017).

    The prompts are those templates of the relation that end in the answer: of the record, or of the files of templates
    that the two publish beside, see ``atlas.pool.companions``; without any, masked sentences that end in it.
    """

    name = "LAMA or ParaRel"
    marks = frozenset({"obj_label"})
    obj_label: Text
    sub_label: Text | None = None
    obj_aliases: Texts = ()
    uuid: Text | None = None
    relation: Text | None = Field(None, validation_alias=AliasChoices("predicate_id", "relation", "pred"))
    templates: Sentences = Field((), validation_alias=AliasChoices("template", "templates", "pattern", "patterns"))
    masked_sentences: Sentences = Field((), validation_alias=AliasChoices("masked_sentences", "masked_sentence"))
    evidences: tuple[_Evidence, ...] = ()

    def facts(self, source: Publication) -> Iterator[Fact]:
        relation = (self.relation or source.relation).strip("/").replace("/", ".")
        templates = self.templates or source.templates.get(relation, ())
        masked = [*self.masked_sentences, *(one.masked_sentence for one in self.evidences if one.masked_sentence)]
        if templates and masked:
            source.left.add("masked sentences")
        sentences = [text.replace(SUBJECT_HOLE, self.sub_label or SUBJECT_HOLE) for text in templates] or masked
        if not sentences:
            raise UnfitError(
                "no template; put LAMA's relations.jsonl or ParaRel's folder graphs_json beside the file, or give "
                "records the key template",
                f"relation {relation}",
            )
        prompts = [prompt for prompt in source.ending(sentences) if SUBJECT_HOLE not in prompt]
        if not prompts:
            raise UnfitError(NO_END, repr(sentences[0]))
        yield source.fact(
            f"lama/{relation}",
            self.uuid or f"{source.number:05d}",
            prompts[0],
            (self.obj_label, *self.obj_aliases),
            subject=self.sub_label,
            rephrases=prompts[1:],
        )


class _PopQa(Shape):
    """PopQA (Mallen et al. 2023, arXiv 2212.10511)."""

    name = "PopQA"
    marks = frozenset({"subj", "prop", "obj", "question"})
    question: Text
    subj: Text
    prop: Text
    obj: Text
    possible_answers: Texts = ()
    id: Text | None = None

    def facts(self, source: Publication) -> Iterator[Fact]:
        name = self.id or f"{source.number:05d}"
        answers = (self.obj, *self.possible_answers)
        yield source.fact(f"popqa/{self.prop}", name, self.question, answers, subject=self.subj)


class _Labelled(Row):
    label: Text


class _Object(_Labelled):
    decision: Text


class _Near(Row):
    prompt: Text
    object: _Labelled


class _Neighbour(Row):
    objects: tuple[_Near, ...] = ()


class _WikiFactDiff(Shape):
    """WikiFactDiff (Ammar Khodja et al. 2024): what is new in Wikidata, ``learn``, and what no longer holds."""

    name = "WikiFactDiff"
    marks = frozenset({"update_prompt", "objects"})
    subject: _Labelled
    relation: _Labelled
    update_prompt: Text
    generalization_prompts: Texts = ()
    objects: tuple[_Object, ...]
    neighborhood: tuple[_Neighbour, ...] = ()

    def facts(self, source: Publication) -> Iterator[Fact]:
        by_decision = {
            decision: [one.label for one in self.objects if one.decision == decision]
            for decision in ("learn", "keep", "forget")
        }
        if not by_decision["learn"]:
            source.left.add("objects (none to learn)")
            return
        prompts = source.ending((self.update_prompt, *self.generalization_prompts))
        if not prompts:
            raise UnfitError(NO_END, repr(self.update_prompt))
        near = [one.objects for one in self.neighborhood if one.objects]
        yield source.fact(
            f"wikifactdiff/{self.relation.label}",
            f"{source.number:05d}",
            prompts[0],
            (*by_decision["learn"], *by_decision["keep"]),
            subject=self.subject.label,
            rephrases=prompts[1:],
            true=by_decision["forget"],
            further=[
                Further(NEIGHBOUR, prompt, flat([one.object.label for one in objects]))
                for objects in near
                for prompt in source.ending([objects[0].prompt])
            ],
        )


SHAPES: tuple[type[Shape], ...] = (*(_Mquake, _CounterFact, _Zsre, _KnowEdit, _Ripple, _Lama, _PopQa, _WikiFactDiff),)
"""Where one shape has the marks of another, too, it comes first."""
MARKS = frozenset().union(*(shape.marks for shape in SHAPES))


def shape_of(records: Sequence[Mapping[str, Any]]) -> type[Shape] | None:
    """The first shape whose marks one of the records has."""
    kinds = {frozenset(record) for record in records}
    return next((shape for shape in SHAPES if any(shape.marks <= keys for keys in kinds)), None)


def keys_of(shape: type[Shape]) -> frozenset[str]:
    """The keys of a record that are read."""
    keys: set[str] = set()
    for name, info in shape.model_fields.items():
        alias = info.validation_alias
        keys |= {str(choice) for choice in alias.choices} if isinstance(alias, AliasChoices) else {str(alias or name)}
    return frozenset(keys)


def merged(facts: Sequence[Fact]) -> list[Fact]:
    """Facts with one prompt and answer become one, with the aliases, paraphrases and further questions of all."""
    found: dict[tuple[str, str, str], Fact] = {}
    for fact in facts:
        key = (fact.template, fact.prompt, fact.answer)
        if first := found.get(key):
            fact = replace(
                first,
                aliases=tuple(dict.fromkeys((*first.aliases, *fact.aliases))),
                rephrases=tuple(dict.fromkeys((*first.rephrases, *fact.rephrases))),
                further=tuple(dict.fromkeys((*first.further, *fact.further))),
            )
        found[key] = fact
    return list(found.values())
