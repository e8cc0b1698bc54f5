"""A study laid on top of another without some of its arms: those that `only` does not name, or that are null. `only`
gives their order, too. A family of contrasts may be null likewise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = ("arms", "ablations")


def narrowed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A study, not validated yet, without the arms and ablations that are left out, and without what compares them.

    ValueError where ``only`` names one that there is not. A study of the wrong form is given back as it is, and so is
    whatever else is wrong in it: validation says so.
    """
    groups = {kind: given.get(kind) or {} for kind in KINDS}
    families, only = given.get("contrasts"), given.get("only")
    if not all(isinstance(group, Mapping) for group in groups.values()) or not _are_names(only):
        return given
    named = {name: arm for group in groups.values() for name, arm in group.items()}
    if unknown := [name for name in only or () if named.get(name) is None]:
        raise ValueError(f"only: {unknown[0]!r} is neither an arm nor an ablation; name some that are")
    gone = {name for name, arm in named.items() if arm is None or (only is not None and name not in only)}
    left = _left(families, gone)
    if not gone and not only and left == families:
        return given
    return {
        **given,
        **{kind: _kept(group, gone, only or list(named)) for kind, group in groups.items()},
        "contrasts": {} if left is None else left,
        "precision": None if _names_one(_contrast(given.get("precision")), gone) else given.get("precision"),
    }


def _are_names(only: object) -> bool:
    return only is None or (isinstance(only, list) and all(isinstance(name, str) for name in only))


def _kept(group: Mapping[str, Any], gone: set[str], order: list[str]) -> dict[str, Any]:
    return {name: group[name] for name in order if name in group and name not in gone}


def _left(families: object, gone: set[str]) -> object:
    if not isinstance(families, Mapping):
        return families
    return {family: left for family, pairs in families.items() if (left := _without(pairs, gone))}


def _without(pairs: object, gone: set[str]) -> object:
    return [pair for pair in pairs if not _names_one(pair, gone)] if isinstance(pairs, list) else pairs


def _contrast(aim: object) -> object:
    return aim.get("contrast") if isinstance(aim, Mapping) else None


def _names_one(pair: object, gone: set[str]) -> bool:
    return isinstance(pair, list | tuple) and any(name in gone for name in pair if isinstance(name, str))


def or_null(schema: dict[str, Any]) -> None:
    """Let the JSON schema of a mapping have null in the place of any value."""
    patterns = schema["patternProperties"]
    schema["patternProperties"] = {name: {"anyOf": [value, {"type": "null"}]} for name, value in patterns.items()}
