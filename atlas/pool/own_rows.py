"""The columns of a pool that is written for Atlas: one fact a row.

``prompt`` and ``answer``, and where wanted ``rephrases``, ``aliases`` (other right answers), ``fact_id`` (else template
and row number), ``domain`` (else "own"), ``template`` (else the domain; facts that share it are each other's
alternatives) and ``role`` (taught or placebo, on every row or none; else drawn). ``subject`` is what the prompt is
about, as editors need it, with ``subject_start``, the index of its first character, where the prompt has it more than
once. ``true_answer`` is what the answer contradicts, and ``further`` what is asked beside the fact: objects with
``probe`` (neighbour, hop or reversed), ``prompt`` and ``answers``. A pool.parquet that Atlas made can be read back.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from atlas.errors import AtlasError
from atlas.pool.cells import Row, Text, Texts, UnfitError, placed
from atlas.pool.facts import UNDRAWN, Fact, Further
from atlas.pool.tabular import folded

DEFAULT_DOMAIN = "own"
DERIVED = {"subject_end"}  # columns of pool.parquet that follow from others
LIKELY = {  # what people call the two columns that every pool needs
    "prompt": ("question", "query", "sentence", "statement", "cloze", "text", "input", "instruction"),
    "answer": ("target", "target_new", "object", "obj", "completion", "label", "response", "output", "answers"),
}


def _json(cell: Any) -> Any:
    try:
        return json.loads(cell) if isinstance(cell, str) else cell
    except json.JSONDecodeError:
        return cell


class _Asked(Row):
    """A further question as a row has it."""

    probe: Literal["neighbour", "hop", "reversed"]
    prompt: Text
    answers: Annotated[Texts, Field(min_length=1)]


class OwnRow(Row):
    """One row as the user wrote it."""

    prompt: Text
    answer: Text
    rephrases: Texts = ()
    aliases: Texts = ()
    fact_id: Text | None = None
    domain: Text | None = None
    template: Text | None = None
    role: Literal["taught", "placebo"] | None = None
    subject: Text | None = None
    subject_start: int | None = None
    true_answer: Text | None = None
    further: Annotated[tuple[_Asked, ...], BeforeValidator(_json)] = ()

    def fact(self, number: int) -> Fact:
        """The fact of the row of this number. Raises UnfitError where it is not clear where the subject stands."""
        start = self.subject_start
        if self.subject and start is None:
            places = placed(self.subject, self.prompt)
            if len(places) != 1:
                raise UnfitError(
                    "subject: not once in the prompt; mend it, or say in subject_start where it begins",
                    f"{self.subject!r} is {len(places)} times in {self.prompt!r}",
                )
            start = places[0]
        domain = self.domain or DEFAULT_DOMAIN
        template = self.template or domain
        return Fact(
            fact_id=self.fact_id or f"{template}/{number:05d}",
            role=self.role or UNDRAWN,
            domain=domain,
            template=template,
            prompt=self.prompt,
            answer=self.answer,
            rephrases=self.rephrases,
            subject=self.subject,
            subject_start=start,
            true_answer=self.true_answer,
            aliases=self.aliases,
            further=tuple(Further(one.probe, one.prompt, one.answers) for one in self.further),
        )


COLUMNS = frozenset(OwnRow.model_fields)


def by_column(cells: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row with the columns as Atlas writes them, which people may write in capital letters or with spaces around.

    Raises AtlasError where two keys are one column.
    """
    found: dict[str, str] = {}
    for name in cells:
        if (other := found.setdefault(folded(name), name)) != name:
            raise AtlasError(f"{where}: the keys {other!r} and {name!r} are one column; remove one")
    return {column: cells[name] for column, name in found.items()}


def lacking(names: Collection[str]) -> list[str]:
    """What to say of each column that a pool needs and a file lacks: its name, and the likely one to be renamed."""
    columns = {folded(name): name for name in names}
    said = []
    for column, likely in LIKELY.items():
        if column not in columns:
            guesses = [*(name for name in likely if name in columns), *difflib.get_close_matches(column, columns, n=1)]
            said.append(f"no column {column!r}" + (f" (rename {columns[guesses[0]]!r}?)" if guesses else ""))
    return said


def meant(name: str) -> str:
    """A column that Atlas does not know, with the one that may be meant."""
    close = difflib.get_close_matches(folded(name), COLUMNS, n=1, cutoff=0.75)
    return f"{name} (is {close[0]} meant?)" if close else name
