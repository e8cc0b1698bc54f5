"""What the cells of a record may hold: texts, and lists of texts as people write them."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from atlas.pool.facts import Unfit
from atlas.study.settings import SHOWN

BAR = "|"
SAID = {"missing": "is missing", "tuple_type": "expected a list"}
SAID |= dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "expected an object")


class UnfitError(Exception):
    """Why a record can be no fact: a reason that all alike share, and what was found in this one."""

    def __init__(self, reason: str, example: str) -> None:
        super().__init__(reason, example)
        self.reason, self.example = reason, example


class Row(BaseModel):
    """What is read of a record; other keys are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _text(cell: Any) -> Any:
    if isinstance(cell, bool):
        raise ValueError("expected text, not true or false; put it in quotes")
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float):
        raise ValueError("a number with a point may be written in many ways; save it as text, as it should be answered")
    if not isinstance(cell, str):
        raise ValueError("expected text; save it as text")
    if any("\ud800" <= character <= "\udfff" for character in cell):
        raise ValueError("half a character, written as \\ud800 to \\udfff; write the whole one")
    return cell.strip()


def _texts(cell: Any) -> Any:
    items = _list(cell) if isinstance(cell, str) else cell
    if not isinstance(items, list):
        return items
    return [item for item in items if item is not None and not (isinstance(item, str) and not item.strip())]


def _list(cell: str) -> list[Any]:
    if not cell.lstrip().startswith("["):
        return [part.strip() for part in cell.split(BAR)]
    try:
        return list(json.loads(cell))
    except json.JSONDecodeError:
        pass
    try:
        items = ast.literal_eval(cell.strip())
        tokens = tokenize.generate_tokens(io.StringIO(cell.strip()).readline)
        kinds = [token.type for token in tokens if token.type != tokenize.NL]
    except (SyntaxError, ValueError, tokenize.TokenError):
        items, kinds = None, []
    # Python joins texts without a comma between them, as numpy prints them
    if not isinstance(items, list) or (tokenize.STRING, tokenize.STRING) in pairwise(kinds):
        raise ValueError('begins like a list but is none; write ["a", "b"] or a | b')
    return items


Text = Annotated[str, BeforeValidator(_text)]
"""Text without spaces around it. A whole number is text, too; one with a point is not, for 1.0 may mean 1."""
Texts = Annotated[tuple[Text, ...], BeforeValidator(_texts)]
"""A list of texts, or text that is one in JSON, in Python, or with | between the texts."""


def flat(value: Any) -> tuple[str, ...]:
    """The texts in nested lists, each once; what is no text is left out."""
    found = (
        [text for inner in value for text in flat(inner)]
        if isinstance(value, list)
        else [str(value).strip()]
        if isinstance(value, str | int) and not isinstance(value, bool)
        else []
    )
    return tuple(dict.fromkeys(text for text in found if text))


def unfit(where: str, error: ValidationError) -> Iterator[Unfit]:
    """Every mistake of a record; those of a key have the same words in all records."""
    for one in error.errors():
        key = ".".join(str(part) for part in one["loc"] if not isinstance(part, int))
        said = SAID.get(one["type"], one["msg"].removeprefix("Value error, "))
        missing = one["type"] == "missing"
        yield Unfit(where, f"{key} {said}" if missing else f"{key}: {said}", repr(one["input"])[:SHOWN])


def placed(subject: str, prompt: str) -> list[int]:
    """Where a subject stands in a prompt, capital letters aside: the index of each first character."""
    small, wanted = prompt.lower(), subject.lower()
    if len(small) != len(prompt) or len(wanted) != len(subject):  # letters that are two in small: compare as they are
        small, wanted = prompt, subject
    return [at for at in range(len(small)) if wanted and small.startswith(wanted, at)]
