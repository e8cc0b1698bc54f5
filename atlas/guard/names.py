"""Names in a file and names in a model: one renamed to the other, and the one cause of many that differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from atlas.errors import AtlasError
from atlas.guard.report import ONE_CAUSE

Rename = Mapping[str, str | None] | Callable[[str], str | None]


def renamed(names: Iterable[str], rename: Rename | None, origin: str) -> dict[str, str]:
    """Names in a file to those that the model has for them, without the tensors that are left out.

    Raises AtlasError where two get one name, or where a mapping names what is not there: a renaming that does
    nothing is a mistake.
    """
    new: dict[str, str] = {}
    taken: set[str] = set()
    used: set[str] = set()
    for name in names:
        target: str | None = name
        if isinstance(rename, Mapping):  # the whole name, or the longest beginning
            beginnings = [key for key in rename if name.startswith(key) and (not key or key.endswith("."))]
            key = name if name in rename else max(beginnings, key=len, default=None)
            if key is not None:
                used.add(key)
                begun = rename[key]
                target = None if begun is None else begun + name.removeprefix(key)
        elif rename:
            target = rename(name)
        if target in taken:
            raise AtlasError(f"{origin}: two tensors are renamed to {target}, {name} is one; mend `rename`")
        if target is not None:
            new[name] = target
            taken.add(target)
    if callable(rename) and all(old == name for old, name in new.items()) and len(new) == len({*names}):
        raise AtlasError(f"{origin}: rename: it changes no name, such as {next(iter(new), '')!r}; leave it out")
    if isinstance(rename, Mapping) and (idle := sorted(rename.keys() - used)):
        raise AtlasError(f"{origin}: rename: no tensor is called {idle[0]!r} or begins so; it has {next(iter(names))}")
    return new


def cause(missing: Collection[str], unexpected: Collection[str], common: Collection[str] = ()) -> str:
    """The one reason why many names differ, with its remedy; empty where there are few, or no such reason.

    Args:
        missing: names that the model has and the file has not.
        unexpected: names that the file has and the model has not.
        common: names that both have.
    """
    found = ""
    if len(missing) > 1 and len(unexpected) > 1:
        for share in (1.0, 0.5):  # a cause that explains all first
            found = found or (
                _begins(unexpected, missing, "in the file", not common, share)
                or _begins(missing, unexpected, "in the model", not common, share)
                or _holds(unexpected, missing, "in the file", share)
                or _holds(missing, unexpected, "in the model", share)
                or _exchanged(unexpected, missing, share)
            )
    elif len(missing) > 1 and not unexpected:
        found = _deeper(missing, common, "the model has {}, the file none after {}")
    elif len(unexpected) > 1 and not missing:
        found = _deeper(unexpected, common, "the file has {}, the model none after {}")
    return ONE_CAUSE + found if found else ""


def _fits(made: Sequence[str], others: Collection[str], share: float) -> bool:
    """Whether names, once changed, are those of the others, at least a share of them, and no two are one."""
    return len({*made}) == len(made) and len({*made} & {*others}) >= share * min(len(made), len(others))


def _begins(names: Collection[str], others: Collection[str], where: str, all_differ: bool, share: float) -> str:
    """One beginning too many, such as that of a wrapper."""
    first = min(names)
    candidates = {name[: -len(other)] for name in (first, max(names)) for other in others if name.endswith(f".{other}")}
    for prefix in sorted(candidates, key=len, reverse=True):
        bare = [name.removeprefix(prefix) for name in names]
        if all(name.startswith(prefix) for name in names) and _fits(bare, others, share):
            rename = f'{{"{prefix}": ""}}' if where == "in the file" else f'{{"": "{prefix}"}}'
            who = f"every name {where} begins" if all_differ else f"{len(names)} names {where} begin"
            return f"{who} with `{prefix}`: pass rename={rename}"
    return ""


def _holds(names: Collection[str], others: Collection[str], where: str, share: float) -> str:
    """A step of the path too many, wherever in the name, such as those of FSDP or of compiled layers."""
    known = {step for name in others for step in name.split(".")}
    extra = sorted({step for name in names for step in name.split(".") if step not in known and not step.isdigit()})
    if not extra:
        return ""
    pattern = re.compile("|".join(rf"(?<![^.]){re.escape(step)}\." for step in extra))
    if not _fits([pattern.sub("", name) for name in names], others, share):
        return ""
    said = " and ".join(f"`{step}.`" for step in extra)
    bare = "name" + "".join(f'.replace("{step}.", "")' for step in extra)
    if where == "in the file":
        return f"{len(names)} names {where} hold {said}: pass rename=lambda name: {bare}"
    back = f"back = {{{bare}: name for name in model.state_dict()}}"
    return f"{len(names)} names {where} hold {said}: pass rename=lambda name: back.get(name, name), with {back}"


def _exchanged(names: Collection[str], others: Collection[str], share: float) -> str:
    """One beginning in the place of another."""
    ours, theirs = (_beginning(each) for each in (names, others))
    if ours != theirs and _fits(
        [name.removeprefix(ours) for name in names], {name.removeprefix(theirs) for name in others}, share
    ):
        said = f"every name in the file begins with `{ours}`, in the model with `{theirs}`"
        return f'{said}: pass rename={{"{ours}": "{theirs}"}}'
    return ""


def _beginning(names: Collection[str]) -> str:
    """The steps that all names begin with, the dot included."""
    first, last = min(names).split(".")[:-1], max(names).split(".")[:-1]
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return "".join(f"{step}." for step in first[:same])


def _deeper(names: Collection[str], common: Collection[str], said: str) -> str:
    """Layers above the last that both have."""
    numbers = {_layer(name) for name in names}
    last = max((number for name in common if (number := _layer(name)) is not None), default=None)
    above = sorted(number for number in numbers if number is not None)
    if None in numbers or last is None or above[0] <= last:
        return ""
    layers = f"layers {above[0]} to {above[-1]}" if len(above) > 1 else f"a layer {above[0]}"
    return f"{said.format(layers, f'layer {last}')}: use the config and the file of one model"


def _layer(name: str) -> int | None:
    """The first number of a path."""
    return next((int(step) for step in name.split(".") if step.isdigit()), None)
