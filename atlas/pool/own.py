"""A user's own pool: a file of facts, written for Atlas or as others publish it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from atlas.errors import AtlasError
from atlas.phrases import listed, plural
from atlas.pool import published, readers
from atlas.pool.cells import UnfitError, unfit
from atlas.pool.companions import RELATIONS, companions
from atlas.pool.facts import UNDRAWN, Fact, Unfit
from atlas.pool.own_rows import COLUMNS, DERIVED, OwnRow, by_column, lacking, meant
from atlas.pool.tabular import Records, read_records
from atlas.study.settings import SHOWN
from atlas.workflow import progress

KNOWN = COLUMNS | published.MARKS


@dataclass(frozen=True)
class Read:
    """What a file holds: facts in its order, rows that can be none, and how many rows have each key that is not used.

    A row with two mistakes is among the unfit twice. ``published``: whether it has a shape that others publish, so that
    its paraphrases need not differ as our own must.
    """

    facts: list[Fact]
    unfit: list[Unfit]
    unused: Mapping[str, int]
    published: bool = False


def read_pool_file(path: Path | str) -> Read:
    """Read a user's own pool; ``role`` is UNDRAWN throughout where the file has none. Says what is not used.

    Raises AtlasError where the file is missing, truncated, of an unknown kind or lacks a column: all that makes the
    file another one than it should be. A row that is wrong by itself is among the unfit.
    """
    path = Path(path)
    if facts := readers.read(path):
        return Read(facts, [], {})
    records = read_records(path, KNOWN, [suffix for one in readers.readers().values() for suffix in one.suffixes])
    if not records.rows:
        raise AtlasError(f"{path}: no facts; give one a row")
    shape = _shape(records)
    if shape is None and (lacks := lacking(records.names)):
        found = " ".join(", ".join(records.names).split())[:SHOWN]
        first = " in its first line" if {".csv", ".tsv"} & {each.lower() for each in path.suffixes} else ""
        raise AtlasError(
            f"{path}: {' and '.join(lacks)}; found {found}{first}; nor are these keys of a research file "
            f"that is read as it is published ({listed(each.name for each in published.SHAPES)})"
        )
    read = _parsed(path, records, shape)
    if read.unused:
        names = [f"{name if shape else meant(name)} in {plural(count, 'row')}" for name, count in read.unused.items()]
        progress.say(f"{path}: not used: {', '.join(names)}")
    without = [fact for fact in read.facts if fact.role == UNDRAWN]
    if 0 < len(without) < len(read.facts):
        raise AtlasError(
            f"{path}: {plural(len(without), 'fact has', 'facts have')} no role, the first is {without[0].fact_id}, "
            "others have; give it to every fact or to none"
        )
    return read


def _shape(records: Records) -> type[published.Shape] | None:
    """The shape of a published file; None where it has our own columns, or those of no shape."""
    return None if not lacking(records.names) else published.shape_of(records.whole)


def _parsed(path: Path, records: Records, shape: type[published.Shape] | None) -> Read:
    """Each record as a record of its shape, or as a row of our own columns."""
    used = published.keys_of(shape) if shape else COLUMNS | DERIVED
    found: list[Fact] = []
    wrong: list[Unfit] = []
    unused: Counter[str] = Counter()
    source = published.Publication(path.name.split(".")[0], _templates(path) if shape else {})
    for source.number, (where, cells) in enumerate(records.rows, start=1):
        if isinstance(cells, Unfit):
            wrong.append(cells)
            continue
        row = cells if shape else by_column(cells, f"{path}: {where}")
        source.left = row.keys() - used
        try:
            if shape:
                found += shape.model_validate(row).facts(source)
            else:
                found.append(OwnRow.model_validate(row).fact(source.number))
        except ValidationError as error:
            wrong += unfit(where, error)
        except UnfitError as error:
            wrong.append(Unfit(where, error.reason, error.example))
        unused.update(source.left)
    facts = published.merged(found) if shape and shape.repeats else found
    by_count = dict(sorted(unused.items(), key=lambda one: (-one[1], one[0])))
    return Read(facts, wrong, by_count, published=shape is not None)


def _templates(path: Path) -> dict[str, list[str]]:
    """The templates of relations that stand in files beside this one."""
    found: dict[str, list[str]] = {}
    for file in companions(path):
        for cells in read_records(file, set()).whole:
            relation = cells.get("relation") if file.name == RELATIONS else path.stem
            template = cells.get("template", cells.get("pattern"))
            if isinstance(relation, str) and isinstance(template, str):
                found.setdefault(relation, []).append(template)
    return found
