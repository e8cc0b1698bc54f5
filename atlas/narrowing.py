"""A study laid on top of another without some of its arms: those that `only` does not name, or that are null. `only`
gives their order, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = ("arms", "ablations")


def narrowed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A study, not validated yet, without the arms and ablations that are left out, and without what compares them.

    ValueError where ``only`` names one that there is not. A study of the wrong form is given back as it is.
    """
    groups = {kind: given.get(kind) or {} for kind in KINDS}
    only = given.get("only")
    if not all(isinstance(group, Mapping) for group in groups.values()) or not isinstance(only, list | None):
        return given
    named = {name: arm for group in groups.values() for name, arm in group.items()}
    if unknown := [name for name in only or () if named.get(name) is None]:
        raise ValueError(f"only: {unknown[0]!r} is neither an arm nor an ablation; name some that are")
    gone = {name for name, arm in named.items() if arm is None or (only is not None and name not in only)}
    return _without(given, groups, gone, only or list(named)) if gone or only else given


def _without(
    given: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]], gone: set[str], order: list[str]
) -> dict[str, Any]:
    families = {
        family: [pair for pair in pairs if gone.isdisjoint(pair)]
        for family, pairs in (given.get("contrasts") or {}).items()
    }
    aim = given.get("precision")
    return {
        **given,
        **{
            kind: {name: group[name] for name in order if name in group and name not in gone}
            for kind, group in groups.items()
        },
        "contrasts": {family: pairs for family, pairs in families.items() if pairs},
        "precision": aim if aim and gone.isdisjoint(aim.get("contrast", ())) else None,
    }


def or_null(schema: dict[str, Any]) -> None:
    """Let the JSON schema of a mapping have null in the place of any value."""
    patterns = schema["patternProperties"]
    schema["patternProperties"] = {name: {"anyOf": [value, {"type": "null"}]} for name, value in patterns.items()}
