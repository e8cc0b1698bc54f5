"""Sweeps of arms: one arm of a study as several, one for each value of a key, before the study is validated."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from atlas.study.arm import Arm
from atlas.study.methods import OWN
from atlas.study.overlays import KINDS
from atlas.study.search_space import plain
from atlas.study.settings import laid_over

NOT_SWEPT = {"sweep", "tuned", "locate"}  # these change no run

Members = dict[str, dict[str, dict[str, str]]]
"""By ``KIND.ARM`` the arms that it makes by name, each with where its swept keys stand in it, by where they are."""


def swept(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A study, not validated yet, with each swept arm in parts; `only` and contrasts that name it mean all of them,
    `interval` the first. How the arm was tuned is no word on its parts, and left out.

    ValueError, a line each, where a sweep is not what it should be. What is of another shape than it should be is
    given back as it is: validation says so.
    """
    problems, members = [*_problems(given)], members_of(given)
    if problems:
        raise ValueError("\n".join(problems))
    if not members:
        return given
    made = {where.partition(".")[2]: [*names] for where, names in members.items()}
    changed: dict[str, Any] = {
        kind: dict(_parts(kind, given[kind], members)) for kind in KINDS if isinstance(given.get(kind), Mapping)
    }
    if isinstance(only := given.get("only"), list):
        changed["only"] = [part for name in only for part in _all_of(name, made)]
    if isinstance(families := given.get("contrasts"), Mapping):
        changed["contrasts"] = {family: _pairs(pairs, made) for family, pairs in families.items()}
    if isinstance(aim := given.get("interval"), Mapping) and isinstance(pair := aim.get("contrast"), list):
        changed["interval"] = {**aim, "contrast": [_all_of(name, made)[0] for name in pair]}
    return {**given, **changed}


def members_of(given: Mapping[str, Any]) -> Members:
    """The arms that sweeps make."""
    return {
        f"{kind}.{name}": {
            _named(name, keys, values): {_path(key, arm): key for key in keys} for keys, values in _combinations(arm)
        }
        for kind, name, arm in _sweeping(given)
        if not [*_problems_of(arm["sweep"])]
    }


def as_written(mistakes: list[str], given: Mapping[str, Any]) -> list[str]:
    """Mistakes of the arms that sweeps make as those of the arms that make them, each once."""
    made = {
        f"{where.partition('.')[0]}.{member}": (where, keys)
        for where, members in members_of(given).items()
        for member, keys in members.items()
    }
    return [*dict.fromkeys(_as_written(line, made) for line in mistakes)]


def _as_written(line: str, made: Mapping[str, tuple[str, Mapping[str, str]]]) -> str:
    for member, (where, keys) in made.items():
        if re.match(rf"{member}[.:]", line):
            rest = line.removeprefix(member)
            for path, key in keys.items():
                if re.match(rf"\.{re.escape(path)}[.:]", rest):
                    return f"{where}.sweep.{key}{rest.removeprefix(f'.{path}')}"
            return where + rest
    return line


def _sweeping(given: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for kind in KINDS:
        arms = given.get(kind)
        for name, arm in arms.items() if isinstance(arms, Mapping) else ():
            if isinstance(arm, Mapping) and isinstance(arm.get("sweep"), Mapping):
                yield kind, name, arm


def _problems(given: Mapping[str, Any]) -> Iterator[str]:
    names = {name: kind for kind in KINDS if isinstance(given.get(kind), Mapping) for name in given[kind]}
    for kind, name, arm in _sweeping(given):
        found = [f"{kind}.{name}.sweep{line}" for line in _problems_of(arm["sweep"])]
        yield from found
        if found:
            continue
        members = [_named(name, keys, values) for keys, values in _combinations(arm)]
        for twice in dict.fromkeys(one for one in members if members.count(one) > 1):
            yield f"{kind}.{name}.sweep: two of its arms would be called {twice!r}; write values that differ in letters"
        for taken in (one for one in dict.fromkeys(members) if one in names):
            yield f"{kind}.{name}.sweep: it makes {taken!r}, which is one of the {names[taken]}; rename one of them"
        names |= dict.fromkeys(members, f"arms of {kind}.{name}.sweep")


def _problems_of(sweep: Mapping[str, Any]) -> Iterator[str]:
    if not sweep:
        yield ": no key; name one with its values, such as lr: [0.001, 0.002], or leave the sweep out"
    for key, values in sweep.items():
        if not isinstance(key, str) or str(key).split(".")[0] in NOT_SWEPT:
            yield f".{key}: it changes no run; name a key of the arm, of its recipe or of its editing"
        elif not isinstance(values, list) or not values:
            yield f".{key}: found {json.dumps(values, default=str)}, expected a list of values, such as [0.001, 0.002]"
        elif any(isinstance(value, Mapping) for value in values):
            yield f".{key}: a value is a mapping; sweep the keys below it by their names with dots, such as {key}.KEY"
        elif twice := [value for at, value in enumerate(map(plain, values)) if value in [*map(plain, values)][:at]]:
            yield f".{key}: {json.dumps(twice[0], default=str)} stands twice; write every value once"


def _combinations(arm: Mapping[str, Any]) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
    sweep = arm["sweep"]
    for values in itertools.product(*sweep.values()):
        yield [*sweep], values


def _path(key: str, arm: Mapping[str, Any]) -> str:
    """Where a key stands in an arm: a key of its own, or else of its editing or recipe."""
    if key.split(".")[0] in Arm.model_fields:
        return key
    trains = arm.get("method", "lora") in ("lora", "finetune") or (arm.get("method") not in OWN and "targets" in arm)
    return f"{'recipe' if trains else 'editing'}.{key}"


def _named(name: str, keys: list[str], values: tuple[Any, ...]) -> str:
    """``ARM_KEY_VALUE``, by the last parts of the keys, or by all of these where two end alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    shown = ends if len({*ends}) == len(ends) else keys
    parts = [part for key, value in zip(shown, values, strict=True) for part in (key.replace(".", "_"), _spelt(value))]
    return "_".join([str(name), *parts])


def _spelt(value: Any) -> str:
    """A value in the letters that names may have: ``0p001`` for 0.001, ``1em05`` for 1e-5, ``q_v`` for [q, v]."""
    if isinstance(value, list):
        return "_".join(map(_spelt, value))
    value = plain(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value).replace(".", "p").replace("-", "m").replace("+", "")
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")


def _parts(kind: str, arms: Mapping[str, Any], members: Members) -> Iterator[tuple[str, Any]]:
    for name, arm in arms.items():
        if f"{kind}.{name}" not in members:
            yield name, arm
            continue
        whole = {key: value for key, value in arm.items() if key not in ("sweep", "tuned")}
        for keys, values in _combinations(arm):
            made = whole
            for key, value in zip(keys, values, strict=True):
                change = value
                for part in reversed(_path(key, arm).split(".")):
                    change = {part: change}
                made = laid_over(made, change)
            yield _named(name, keys, values), made


def _all_of(name: Any, made: Mapping[str, list[str]]) -> list[Any]:
    return made.get(name, [name]) if isinstance(name, str) else [name]


def _pairs(pairs: Any, made: Mapping[str, list[str]]) -> Any:
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) for pair in pairs):
        return pairs
    return [list(one) for pair in pairs for one in itertools.product(*(_all_of(name, made) for name in pair))]
