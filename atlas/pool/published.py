"""Pools as others publish them: CounterFact and zsRE, JSON lists whose records show which of the two they are.

CounterFact (Meng et al. 2022, arXiv 2202.05262): the prompt is ``requested_rewrite.prompt`` with the subject in its
braces, the answer ``target_new``, the paraphrases ``paraphrase_prompts``; facts of a relation are each other's
alternatives. zsRE (Levy et al. 2017, as Mitchell et al. 2022 and Meng et al. 2023 publish it): the prompt is the
question ``src``, the answer the first of ``answers``, the paraphrase ``rephrase``. Prompts of other subjects that the
files have for locality (``neighborhood_prompts``, ``loc``) are not used: that is measured on facts of the pool that are
never taught.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from atlas.errors import AtlasError
from atlas.pool.facts import UNDRAWN, Fact
from atlas.study.settings import explain
from atlas.workflow import files

SUFFIX = ".json"
HOLE = "{}"  # the subject's place in a prompt of CounterFact


class Record(BaseModel):
    """What is read of a record that others wrote; strict, so that a number is not taken for text."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Target(Record):
    text: str = Field(alias="str")


class _Rewrite(Record):
    prompt: str
    subject: str = Field(min_length=1)
    target_new: _Target
    relation_id: str

    @field_validator("prompt")
    @classmethod
    def _one_hole(cls, prompt: str) -> str:
        if prompt.count(HOLE) != 1:
            raise ValueError(f"a prompt has {HOLE} once, for the subject")
        return prompt


class _CounterFact(Record):
    case_id: int
    requested_rewrite: _Rewrite
    paraphrase_prompts: list[str] = Field(min_length=1)

    def fact(self, _number: int) -> Fact:
        asked = self.requested_rewrite
        template = f"counterfact/{asked.relation_id}"
        return Fact(
            fact_id=f"{template}/{self.case_id}",
            role=UNDRAWN,
            domain="counterfact",
            template=template,
            prompt=asked.prompt.replace(HOLE, asked.subject),
            answer=asked.target_new.text.strip(),
            rephrases=tuple(prompt.strip() for prompt in self.paraphrase_prompts),
            subject=asked.subject,
            subject_start=asked.prompt.index(HOLE),
        )


class _Zsre(Record):
    subject: str = Field(min_length=1)
    src: str
    answers: list[str] = Field(min_length=1)
    rephrase: str

    @model_validator(mode="after")
    def _subject_in_question(self) -> _Zsre:
        if self.subject not in self.src:
            raise ValueError(f"subject: {self.subject!r} is not in the question {self.src!r}")
        return self

    def fact(self, number: int) -> Fact:
        return Fact(
            fact_id=f"zsre/{number:05d}",
            role=UNDRAWN,
            domain="zsre",
            template="zsre",
            prompt=self.src,
            answer=self.answers[0].strip(),
            rephrases=(self.rephrase.strip(),),
            subject=self.subject,
            subject_start=self.src.index(self.subject),
        )


def read_facts(path: Path | str) -> list[Fact]:
    """The facts of a file of CounterFact or zsRE, in its order, roles not yet drawn.

    Raises AtlasError where the file is missing, no JSON list or of neither shape, or a field is missing or wrong.
    """
    try:
        records = json.loads(files.read_text(path))
    except json.JSONDecodeError as error:
        raise AtlasError(f"{path}: not valid JSON ({error}); copy it again") from None
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise AtlasError(f"{path}: not a JSON list of records, as CounterFact and zsRE are published; copy it again")
    if not {"requested_rewrite", "src"} & records[0].keys():
        raise AtlasError(
            f"{path}: record 1 has the keys {', '.join(records[0])}; expected requested_rewrite (CounterFact) or src "
            "(zsRE); write a pool of your own as CSV, JSONL or Parquet"
        )
    kind = _CounterFact if "requested_rewrite" in records[0] else _Zsre
    facts = []
    for number, record in enumerate(records, start=1):
        try:
            facts.append(kind.model_validate(record).fact(number))
        except ValidationError as error:
            raise AtlasError(f"{path}: record {number}: {explain(error)}") from None
    return facts
