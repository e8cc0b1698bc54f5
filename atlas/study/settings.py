"""What all typed settings share: frozen classes, unknown keys forbidden, mistakes said in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Role = Literal["q", "k", "v", "o", "up", "gate", "down"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="lower-case letters, digits and underscores")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base of all typed settings, and of records that are checked alike: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def laid_over(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings key by key; a mapping laid over null starts from nothing, so defaults fill it."""
    result = dict(values)
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = laid_over(result[key], value) if nested else value
    return result


def explain(error: ValidationError) -> str:
    """Say the first problem of a validation error in one line: key, what was found, what is wrong with it."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not re.match(r"(list|function|constrained)", str(part)))
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; see docs/study.schema.json for the keys there are"
    if first["type"] == "missing":
        return f"{key}: Field required, found {', '.join(first['input'])}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, found {first['input']!r}" if key else message
