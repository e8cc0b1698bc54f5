"""What all typed settings share: frozen classes, unknown keys forbidden, mistakes said in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

Role = Literal["q", "k", "v", "o", "up", "gate", "down"]
TRUTHS = "YAML takes yes, no, on and off for these, so put text in quotes"
LONGEST_NAME = 100
# Snakemake takes a value that ends in 20 repetitions for a sign of rules that feed each other without end
PERIODIC = re.compile(r"(.+)\1{19}$")


def _as_the_model_has_them(roles: list[Role]) -> list[Role]:
    return sorted(roles, key=get_args(Role).index)


def _name(name: Any) -> Any:
    if not isinstance(name, str):
        raise ValueError("expected a name; YAML takes no, off, null and 1 for values: put it in quotes")
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError("expected lower-case letters, digits and underscores behind a letter, such as qv_1")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters, expected at most {LONGEST_NAME}; files are called by it")
    if PERIODIC.search(name):
        raise ValueError("ends in the same characters 20 times, which Snakemake refuses in a file; choose another name")
    return name


Roles = Annotated[list[Role], AfterValidator(_as_the_model_has_them)]
"""Roles in the order of the model: which is named first decides nothing, so it reruns nothing."""
Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100, description="lower-case letters, digits and underscores"),
    BeforeValidator(_name),
]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
LARGEST_SEED = 2**63 - 1  # what tables can hold
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base of all typed settings, and of records that are checked alike: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            wrong = [key for key in _without_truths(cls) if _has_truth(given.get(key))]
            if wrong:
                raise ValueError("\n".join(f"{key}: expected neither true nor false; {TRUTHS}" for key in wrong))
        return given


@cache
def _without_truths(kind: type[BaseModel]) -> tuple[str, ...]:
    """The keys that take numbers and text only, alone or in lists and mappings."""
    plain = {int, float, str, type(None)}
    return tuple(key for key, field in kind.model_fields.items() if _kinds_of(field.annotation) <= plain)


def _kinds_of(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    if annotation is Any or (isinstance(annotation, type) and not get_args(annotation)):
        return {annotation}
    return set[Any]().union(*map(_kinds_of, get_args(annotation)))


def _has_truth(value: Any) -> bool:
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, bool) or any(map(_has_truth, inside))


def laid_over(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings key by key; a mapping laid over null starts from nothing, so defaults fill it."""
    result = dict(values)
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = laid_over(result[key], value) if nested else value
    return result


# what pydantic adds to where a mistake stands: which member of a union it tried, and that a key is meant
MEMBER = re.compile(r"(constrained|function|list|literal|nullable|tuple|dict|union)[-[].*|\[key\]")
PLAIN_MEMBERS = ("str", "int", "Model")
INNER = re.compile(r"\w+(\.\w+)*: ")
SAID = {"extra_forbidden": "unknown key; see docs/study.schema.json for the keys there are"}
BETWEEN, MOST, SHOWN = " | ", 20, 100  # between mistakes; mistakes of a line; characters of what was found


def mistakes(error: ValidationError) -> list[str]:
    """Every mistake in a line of its own: key, what is wrong, what was found.

    A validator says several in one message, a line each, each with its key below what the validator sees.
    """
    said: list[str] = []
    errors = error.errors()
    places = [one["loc"] for one in errors]
    tried: set[str] = set()
    values: dict[str, tuple[list[str], str]] = {}  # what is wrong with one, by each member of a union, and what it is
    for one in errors:
        key = ".".join(str(part) for i, part in enumerate(one["loc"]) if not _is_member(one["loc"], i, places))
        message = SAID.get(one["type"], one["msg"].removeprefix("Value error, "))
        if one["type"] == "value_error" and isinstance(one["input"], Mapping):
            for line in message.split("\n"):
                inner = "." if key and INNER.match(line) else ": " if key else ""
                said.append(f"{key}{inner}{line}")
        elif one["type"] in SAID:
            said.append(f"{key}: {message}")
        else:
            lines, _ = values.setdefault(key, ([], _shown(one)))
            lines.extend([message] if message not in lines else [])
            if one["loc"][-1] != "[key]":
                tried.add(key)
    # what the other members of a union say is beside the point where one of them was meant
    beside = [key for key in tried if any(line.startswith(f"{key}.") for line in (*said, *values))]
    return [
        f"{key}: {' or '.join(lines)}, found {found}" for key, (lines, found) in values.items() if key not in beside
    ] + said


Place = tuple[int | str, ...]


def _is_member(place: Place, at: int, places: Sequence[Place]) -> bool:
    """Whether a part of a mistake's place names a member of a union. A key may be called ``str`` as well: then no other
    member was tried."""
    if place[at] not in PLAIN_MEMBERS:
        return bool(MEMBER.fullmatch(str(place[at])))
    beside = {str(other[at]) for other in places if other[:at] == place[:at] and len(other) > at}
    return len(beside) > 1 and all(part in PLAIN_MEMBERS or MEMBER.fullmatch(part) for part in beside)


def explain(error: ValidationError) -> str:
    """All mistakes of a validation error in one line."""
    return one_line(mistakes(error))


def one_line(lines: Sequence[str]) -> str:
    """Mistakes in one line: at most 20, and how many more there are."""
    return BETWEEN.join([*lines[:MOST], *([f"and {len(lines) - MOST} more"] if len(lines) > MOST else [])])


def _shown(one: ErrorDetails) -> str:
    """What was found: the value, or the keys where one is missing; the beginning of what is long."""
    text = ", ".join(map(str, one["input"])) if one["type"] == "missing" else repr(one["input"])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
