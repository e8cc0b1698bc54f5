"""What a file of records holds, whatever kind of file it is: CSV, TSV, JSON, JSON Lines or Parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.phrases import listed
from atlas.pool.facts import Unfit
from atlas.study.settings import SHOWN, one_line
from atlas.workflow import files, progress

DELIMITERS = {",": "a comma", "\t": "a tab", ";": "a semicolon"}
MARKS = {  # byte-order marks of text, the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
PACKED = ".gz"
AROUND = 20  # characters that are shown on either side of one that cannot be read

Cells = dict[str, Any]


@dataclass(frozen=True)
class Records:
    """The records of a file in its order, each with where it stands (``line 3``, ``record 3``, ``row 3``).

    ``names`` are all names of columns or keys, as the file writes them. Missing cells (empty ones, null, NaN) are left
    out of records, at any depth. A row that has not as many cells as the header is unfit.
    """

    names: list[str]
    rows: list[tuple[str, Cells | Unfit]]

    @property
    def whole(self) -> list[Cells]:
        """The records but for the unfit ones."""
        return [cells for _, cells in self.rows if isinstance(cells, dict)]


def folded(name: str) -> str:
    """A name of a column as it is compared: in small letters, without spaces around it."""
    return name.strip().lower()


def read_records(path: Path, known: Collection[str]) -> Records:
    """Read a file; the kind follows from its name. Text may be UTF-8 or, by its byte-order mark, UTF-16.

    ``known`` are the names of columns that are looked for, in small letters: they tell which delimiter a header has.

    Raises AtlasError where the file is missing, damaged, of an unknown kind or not text, or where a name stands twice.
    """
    packed = path.suffix.lower() == PACKED
    kind = (path.with_suffix("") if packed else path).suffix.lower()
    if kind == ".parquet" and not packed:
        return _parquet(path)
    if kind not in TEXTS:
        raise AtlasError(
            f"{path}: unknown kind of pool {kind!r}; expected {listed([*TEXTS, '.parquet'])} (text also as .gz); save "
            "it as one of these"
        )
    return TEXTS[kind](path, _text(path, packed), known)


def _text(path: Path, packed: bool) -> str:
    if not path.is_file():
        raise AtlasError(f"{path}: no such file; check the path")
    data = path.read_bytes()
    if packed:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise AtlasError(f"{path}: not a whole gzip file ({error}); copy it again") from None
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data:
        raise AtlasError(f"{path}: zero bytes, as in UTF-16 without its byte-order mark; save the file as UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise AtlasError(f"{path}: not whole {encoding.upper()} text ({error}); save it as UTF-8") from None
        bad = error.start
        line, begin = data.count(b"\n", 0, bad) + 1, data.rfind(b"\n", 0, bad) + 1
        seen = data[max(begin, bad - AROUND) : bad + AROUND].split(b"\n")[0].decode("cp1252", errors="replace").strip()
        raise AtlasError(
            f"{path}: line {line}, byte {bad - begin + 1}: 0x{data[bad]:02X} is not UTF-8; save the file as UTF-8 (as "
            f"cp1252 it would read {seen!r})"
        ) from None


def _once(path: Path, names: Sequence[str]) -> None:
    """Raise AtlasError where two columns have one name, capital letters and spaces aside."""
    first: dict[str, int] = {}
    twice = []
    for number, name in enumerate(names, start=1):
        if (other := first.setdefault(folded(name), number)) != number and name.strip():
            twice.append(f"columns {other} {names[other - 1]!r} and {number} {name!r} have one name")
    if twice:
        raise AtlasError(f"{path}: {one_line(twice)}; rename or remove one of the two")


def _delimited(path: Path, text: str, known: Collection[str]) -> Records:
    first = io.StringIO(text.lstrip("\r\n"), newline=None).readline()
    delimiter = _delimiter(path, first.rstrip("\n"), known)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows: list[tuple[str, Cells | Unfit]] = []
    line = 1  # where the next row begins, which may have several lines
    try:
        header = next(filter(None, reader), [])
        _once(path, header)
        names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
        line = reader.line_num + 1
        for cells in reader:
            filled = any(cell.strip() for cell in cells)
            if filled and len(cells) == len(names):
                rows.append((f"line {line}", _filled(dict(zip(names, cells, strict=True)))))
            elif filled:
                more = f"; quote texts with {DELIMITERS[delimiter]} in them" if len(cells) > len(names) else ""
                found = f"{len(cells)} of {len(names)}, the last is {cells[-1][:SHOWN]!r}"
                reason = f"not as many cells as the header has{more}"
                rows.append((f"line {line}", Unfit(f"line {line}", reason, found)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise AtlasError(
            f"{path}: line {line}: not valid CSV ({error}); in a quoted cell write quotes twice, and nothing behind it"
        ) from None
    return Records(names, rows)


def _delimiter(path: Path, header: str, known: Collection[str]) -> str:
    """The delimiter that gives a header the most known names, of several the one with the most cells."""
    cells = {each: next(csv.reader([header], delimiter=each, skipinitialspace=True), []) for each in DELIMITERS}
    best = max(DELIMITERS, key=lambda each: (sum(folded(name) in known for name in cells[each]), len(cells[each])))
    if others := [name for each, name in DELIMITERS.items() if each != best and len(cells[each]) > 1]:
        found = listed(repr(name) for name in cells[best])
        progress.say(f"{path}: the header has {listed(others)}, too; cells end at {DELIMITERS[best]}: {found}")
    return best


class _TwiceError(ValueError):
    """A key that an object has twice."""


def _object(pairs: list[tuple[str, Any]]) -> Cells:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        values = [json.dumps(value, ensure_ascii=False)[:SHOWN] for name, value in pairs if name == key]
        raise _TwiceError(f"the key {key!r} is there twice, as {listed(values)}; remove one")
    return found


def _json(path: Path, text: str, known: Collection[str]) -> Records:
    """JSON, or JSON Lines under its name."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except _TwiceError as error:
        raise AtlasError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _lines(path, text, known)
        raise AtlasError(f"{path}: not valid JSON ({error}); copy it again") from None
    if isinstance(value, dict):
        value = _within(path, value, known)
    records = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else [value], 1)
    return _records(path, [(f"record {key}", record) for key, record in records])


def _within(path: Path, value: Cells, known: Collection[str]) -> Any:
    """The records of a JSON object: it may be one, or have a list of them, or one a key, or a list for each column."""
    kinds = {type(inner) for inner in value.values()}
    if any(folded(name) in known for name in value):
        if kinds not in ({list}, {dict}):
            return [value]
        columns = {
            name: inner if isinstance(inner, dict) else dict(enumerate(inner, start=1)) for name, inner in value.items()
        }
        keys = dict.fromkeys(key for column in columns.values() for key in column)
        return {key: {name: column[key] for name, column in columns.items() if key in column} for key in keys}
    lists = [
        name for name, inner in value.items() if isinstance(inner, list) and any(isinstance(x, dict) for x in inner)
    ]
    if len(lists) > 1:
        raise AtlasError(
            f"{path}: lists of records at {listed(map(repr, lists))}; save the one meant as a file by itself"
        )
    if lists:
        if beside := [name for name in value if name not in lists]:
            progress.say(f"{path}: reads the list at {lists[0]!r}; not used beside it: {', '.join(beside)}")
        return value[lists[0]]
    return value if kinds == {dict} else [value]


def _lines(path: Path, text: str, known: Collection[str]) -> Records:
    """JSON Lines, or JSON under its name."""
    if text.lstrip().startswith("["):
        return _json(path, text, known)
    found: list[tuple[str, Any]] = []
    wrong = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            if line.strip():
                found.append((f"line {number}", json.loads(line, object_pairs_hook=_object)))
        except _TwiceError as error:
            wrong.append(f"line {number}: {error}")
        except (ValueError, RecursionError) as error:
            wrong.append(f"line {number}: not valid JSON ({str(error).replace('line 1 column', 'character')})")
    if wrong:
        raise AtlasError(f"{path}: {one_line(wrong)}; each line is an object with the columns as keys")
    return _records(path, found)


def _records(path: Path, found: Sequence[tuple[str, Any]]) -> Records:
    wrong = [f"{where}: found {json.dumps(one)[:SHOWN]}" for where, one in found if not isinstance(one, dict)]
    if wrong:
        raise AtlasError(f"{path}: {one_line(wrong)}; expected an object with the columns as keys")
    names = dict.fromkeys(name for _, record in found for name in record)
    return Records([*names], [(where, _filled(record)) for where, record in found])


def _filled(value: Any) -> Any:
    """A value without what is missing in its lists and objects."""
    if isinstance(value, dict):
        return {key: _filled(inner) for key, inner in value.items() if not _missing(inner)}
    return [_filled(inner) for inner in value if not _missing(inner)] if isinstance(value, list) else value


def _missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _parquet(path: Path) -> Records:
    table = files.read_parquet(path, mend="copy it again")
    _once(path, table.column_names)
    rows = [(f"row {number}", row) for number, row in enumerate(table.to_pylist(), start=1)]
    return Records(table.column_names, _records(path, rows).rows)


TEXTS: dict[str, Callable[[Path, str, Collection[str]], Records]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".json": _json,
    ".jsonl": _lines,
    ".ndjson": _lines,
}
