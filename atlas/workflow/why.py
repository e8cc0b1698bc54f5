"""Why Snakemake would make a target again, in words: its own dry run, read and explained.

The words of a dry run are no interface: tests/workflow/test_snakemake.py says when they change.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from atlas.errors import AtlasError
from atlas.phrases import plural

# jobs of a group stand further in
JOB = re.compile(r"^( *)(?:local)?(?:rule|checkpoint) (?P<rule>\S+):\n(?P<fields>(?:\1    .*\n)+)", re.MULTILINE)
PARAMS = "Params have changed since last execution: "
SOFTWARE = "Software environment definition has changed since last execution"
SIMPLE = {
    "Set of input files has changed since last execution": "reads other files than before",
    "Code has changed since last execution": "command of the rule changed: see rules/",
    SOFTWARE: "environment changed: see envs/",
    "Forced execution": "forced on the command line",
}
MISSING = "Missing output files"
WITH_FILES = {
    MISSING: "missing",
    "Incomplete output files": "broken off while it was written",
    "Updated input files": "input changed",
}
UPSTREAM = "Input files updated by another job"
CODE = re.compile(r"[\w./-]+=([0-9a-f]{12}|=\S+)")  # a module with its digest, a package with its version
# where the keys of a rule's spec stand in the study
SECTIONS = {"facts": "pool", "corpus": "base", "pretrain": "base", "certify": "base"} | dict.fromkeys(
    ("honest", "damage"), "guard"
)
SHOWN = 4  # names of a list
WIDTH = 80  # characters of a value
NOTHING = object()


@dataclass(frozen=True)
class PlannedJob:
    """A job of a dry run, as Snakemake lists it."""

    rule: str
    wildcards: str
    outputs: tuple[str, ...]
    reason: str


def explain(target: str, options: Sequence[str] = ()) -> str:
    """Say which jobs Snakemake would run for a target, and why.

    Raises AtlasError with Snakemake's own message where it cannot plan the target.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", target, *options]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode:
        told = [line for line in result.stdout.splitlines() if line.strip()]
        said = next((line.partition("atlas: error: ")[2] for line in told if "atlas: error: " in line), None)
        raise AtlasError(said or f"snakemake cannot plan {target}: {' '.join(' '.join(told[-2:]).split())}")
    jobs = [job for job in jobs_of(result.stdout) if job.outputs]
    if not jobs:
        return f"{target}: up to date, nothing would run"
    made = {output: job.rule for job in jobs for output in job.outputs}
    alike: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        alike[tuple(_in_words(job, made))][job.rule].append(job.wildcards)
    lines = [f"{target}: {plural(len(jobs), 'job')} would run"]
    for words, rules in alike.items():
        lines += ["", *(f"{rule} {_shortened(wildcards, '; ')}".rstrip() for rule, wildcards in rules.items())]
        lines += [f"  {word}" for word in words]
    return "\n".join(lines)


def jobs_of(printed: str) -> Iterator[PlannedJob]:
    """The jobs that a dry run of Snakemake lists."""
    for found in JOB.finditer(printed):
        fields = dict(re.findall(r"^ +(\w+): (.*)$", found["fields"], flags=re.MULTILINE))
        outputs = tuple(filter(None, fields.get("output", "").split(", ")))
        wildcards = fields.get("wildcards", "").replace(", ", " ")
        yield PlannedJob(found["rule"], wildcards, outputs, fields.get("reason", ""))


def _in_words(job: PlannedJob, made: dict[str, str]) -> Iterator[str]:
    reason, _, params = job.reason.partition(PARAMS)
    for part in filter(None, reason.strip("; ").split("; ")):
        head, _, names = part.partition(": ")
        files = names.split(", ")
        if head == UPSTREAM:
            remade = {made[file] for file in files if file in made}
            rules = [rule for rule in dict.fromkeys(made.values()) if rule in remade]
            yield f"follows {_shortened(rules)}, made again before it" if rules else part
        elif head == MISSING and set(files) == set(job.outputs):
            yield "not made yet"
        elif head in WITH_FILES:
            yield f"{WITH_FILES[head]}: {_shortened(sorted(files))}"
        else:
            yield SIMPLE.get(head, part)
    if params:
        yield from _changed_params(params.removesuffix(f"; {SOFTWARE}"), SECTIONS.get(job.rule, ""))
    if params.endswith(SOFTWARE):
        yield SIMPLE[SOFTWARE]


def _changed_params(text: str, section: str) -> Iterator[str]:
    (old_code, old), (new_code, new) = (_sorted_out(values) for values in _sides(text))
    yield from _changed_code(old_code, new_code)
    for kind in old:
        for a, b in zip_longest(old[kind], new[kind], fillvalue=NOTHING):
            yield from (f"setting changed: {line}" for line in _differences(a, b, section if kind is dict else ""))


def _changed_code(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Which packages changed, from which version to which, and the code of which modules."""
    changed: dict[str, list[str]] = {"package": [], "code": []}
    for name in sorted(old.keys() | new.keys(), key=lambda each: (each not in old, each not in new, each)):
        before, after = old.get(name, ""), new.get(name, "")
        if before != after:
            versions = " -> ".join(part[1:] for part in (before, after) if part.startswith("="))
            note = "" if before and after else "(now used)" if after else "(no longer used)"
            changed["package" if versions else "code"].append(" ".join(filter(None, [name, versions, note])))
    yield from (f"{what} changed: {_shortened(names)}" for what, names in changed.items() if names)


def _sorted_out(values: Sequence[Any]) -> tuple[dict[str, str], dict[type, list[Any]]]:
    """Modules and packages by name, and settings by kind: mappings, lists, all else. Snakemake gives the values of
    params without their names, in any order: they are told apart by their kind."""
    code: dict[str, str] = {}
    settings: dict[type, list[Any]] = {dict: [], list: [], object: []}
    for value in values:
        if isinstance(value, list) and value and all(isinstance(v, str) and CODE.fullmatch(v) for v in value):
            code.update(part.split("=", 1) for part in value)
        else:
            said = _parsed(value)
            settings[type(said) if isinstance(said, dict | list) else object].append(said)
    return code, settings


def _parsed(value: Any) -> Any:
    """What JSON says that a param holds, alone or as an option of a command; other params as they are."""
    for word in [value, *value.split("'")] if isinstance(value, str) and "{" in value else []:
        try:
            return json.loads(word)
        except ValueError:
            continue
    return value


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    """Where two settings differ, key by key: ``recipe.slow.lr: 0.001 -> 0.002``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            if old.get(name, NOTHING) != new.get(name, NOTHING):
                yield from _differences(old.get(name, NOTHING), new.get(name, NOTHING), f"{key}.{name}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) + len(new) > 2 * SHOWN:
        for sign, values in (("no more", [v for v in old if v not in new]), ("new", [v for v in new if v not in old])):
            if values:
                yield f"{key or 'list'}: {sign}: {_shortened([_brief(value) for value in values])}"
    else:
        yield f"{key}: {_brief(old)} -> {_brief(new)}".removeprefix(": ")


def _sides(text: str) -> tuple[list[Any], list[Any]]:
    """The values that only the last run had, and those that only the next one has, from Snakemake's sentence."""
    _, _, rest = text.partition("before: ")
    for split in re.finditer(r" now: ", rest):
        try:
            return _values(rest[: split.start()]), _values(rest[split.end() :])
        except (SyntaxError, ValueError):
            continue  # the words stand inside a value
    return [], []


def _values(text: str) -> list[Any]:
    return [] if text.strip() == "<nothing exclusive>" else list(ast.literal_eval(f"[{text}]"))


def _brief(value: Any) -> str:
    if value is NOTHING or value is None:
        return "nothing" if value is NOTHING else "null"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


def _shortened(names: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
