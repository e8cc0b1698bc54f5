"""Reading and writing: outputs appear whole or not at all, inputs are checked before they are used."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import AtlasError

PROVENANCE_KEY = b"atlas"


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Yield a scratch path beside ``path``; rename it there when the block succeeds, remove it when it fails.

    The scratch name is unique, so two writers of one output never mix: the last one to finish wins, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        _settle(scratch)
        os.replace(scratch, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def _settle(scratch: Path) -> None:
    """Flush to the disk and undo mkstemp's private mode, so that colleagues can read the results."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(scratch, 0o666 & ~umask)
    with open(scratch, "rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, whole or not at all."""
    with whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON, whole or not at all. NaN and infinity are refused with ``ValueError``."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON. Raises AtlasError where the file is missing or is not JSON (truncated, say)."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise AtlasError(f"{path}: not valid JSON ({error}); delete the file and run again to remake it") from None


def read_text(path: Path | str) -> str:
    """Read UTF-8 text. Raises AtlasError where the file is missing or not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AtlasError(f"{path}: no such file; check the path, or make it by running snakemake") from None
    except UnicodeDecodeError as error:
        raise AtlasError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def write_parquet(path: Path | str, table: pa.Table, provenance: Mapping[str, Any]) -> None:
    """Write a Parquet table whose footer carries ``provenance`` as JSON, whole or not at all."""
    footer = {
        **(table.schema.metadata or {}),
        PROVENANCE_KEY: json.dumps(dict(provenance), sort_keys=True).encode(),
    }
    with whole(path) as scratch:
        pq.write_table(table.replace_schema_metadata(footer), scratch, compression="zstd")


def read_parquet(
    path: Path | str, columns: pa.Schema | None = None, mend: str = "delete it and run again to remake it"
) -> pa.Table:
    """Read a Parquet table and check that it has ``columns`` with these types (further columns are welcome).

    Raises AtlasError where the file is missing, truncated (``mend`` says what to do), or a column is missing or of
    another type.
    """
    if not Path(path).is_file():
        raise AtlasError(f"{path}: no such file; check the path, or make it by running snakemake")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise AtlasError(f"{path}: not a whole Parquet file ({reason}); {mend}") from None
    for field in columns or ():
        if field.name not in table.column_names:
            raise AtlasError(f"{path}: no column {field.name!r}; found {', '.join(table.column_names)}")
        if table.schema.field(field.name).type != field.type:
            found = table.schema.field(field.name).type
            raise AtlasError(f"{path}: column {field.name!r} is {found}, expected {field.type}")
    return table


def provenance_of(path: Path | str) -> dict[str, Any]:
    """Return the provenance in a Parquet footer, or an empty dict where another tool wrote the file."""
    metadata = pq.read_schema(path).metadata or {}
    record: dict[str, Any] = json.loads(metadata.get(PROVENANCE_KEY, b"{}"))
    return record


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
