"""A study laid on top of another without some of its arms: those that `only` does not name, or that are null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = ("arms", "ablations")


def narrowed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A study, not validated yet, without the arms and ablations that are left out, and without what compares them.

    ``only`` gives their order, too; a family of contrasts may be null like an arm. ValueError where ``only`` names one
    that there is not. What is of another shape than it should be is given back as it is: validation says so.
    """
    groups = {kind: given.get(kind) or {} for kind in KINDS}
    families, only, aim = (given.get(key) for key in ("contrasts", "only", "interval"))
    if not isinstance(only, list) or not all(isinstance(name, str) for name in only):
        only = None
    if not all(isinstance(group, Mapping) for group in groups.values()):
        return given
    named = {name: arm for group in groups.values() for name, arm in group.items()}
    if unknown := [name for name in only or () if named.get(name) is None]:
        raise ValueError(
            "\n".join(f"only: {name!r} is neither an arm nor an ablation; name some that are" for name in unknown)
        )
    gone = {name for name, arm in named.items() if arm is None or (only is not None and name not in only)}

    def left(pairs: Any) -> Any:
        return [pair for pair in pairs if not _names_one(pair, gone)] if isinstance(pairs, list) else pairs

    if isinstance(families, Mapping):
        families = {family: kept for family, pairs in families.items() if (kept := left(pairs))}
    if not gone and not only and families == given.get("contrasts"):
        return given
    aims_at_gone = isinstance(aim, Mapping) and _names_one(aim.get("contrast"), gone)
    return {
        **given,
        **{
            kind: {name: group[name] for name in only or named if name in group and name not in gone}
            for kind, group in groups.items()
        },
        "contrasts": {} if families is None else families,
        "interval": None if aims_at_gone else aim,
    }


def _names_one(pair: object, gone: set[str]) -> bool:
    return isinstance(pair, list | tuple) and any(name in gone for name in pair if isinstance(name, str))


def or_null(schema: dict[str, Any]) -> None:
    """Let the JSON schema of a mapping have null in the place of any value."""
    patterns = schema["patternProperties"]
    schema["patternProperties"] = {name: {"anyOf": [value, {"type": "null"}]} for name, value in patterns.items()}
