"""Reading and writing: outputs are written atomically, inputs are checked before they are used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import AtlasError
from atlas.workflow.checksums import sha256 as sha256
from atlas.workflow.publishing import together as together
from atlas.workflow.publishing import whole as whole

PROVENANCE_KEY = b"atlas"


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, atomically."""
    with whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def publish_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text as the output of a step: atomically, its checksum in SHA256SUMS."""
    with together(path) as stage:
        write_text(stage / Path(path).name, text)


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON, atomically. NaN and infinity are refused with ``ValueError``."""
    write_text(path, _as_json(value))


def publish_json(path: Path | str, value: Any) -> None:
    """Write indented JSON as the output of a step, as ``publish_text`` does."""
    publish_text(path, _as_json(value))


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


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
    """Write a Parquet table whose footer carries ``provenance`` as JSON, atomically and with checksums."""
    footer = {
        **(table.schema.metadata or {}),
        PROVENANCE_KEY: json.dumps(dict(provenance), sort_keys=True).encode(),
    }
    path = Path(path)
    with together(path) as stage:
        pq.write_table(
            table.replace_schema_metadata(footer), stage / path.name, compression="zstd", write_page_checksum=True
        )


def listed(paths: Sequence[Path]) -> list[Path]:
    """Paths of a command line; a text file (``.txt``) among them stands for those that it lists, one a line.

    Raises AtlasError where it cannot be read, or lists none.
    """
    found: list[Path] = []
    for path in paths:
        lines = [Path(line) for line in read_text(path).splitlines() if line] if path.suffix == ".txt" else [path]
        if not lines:
            raise AtlasError(f"{path}: lists no path; expected one a line")
        found += lines
    return found


def read_parquet(
    path: Path | str, columns: pa.Schema | None = None, mend: str = "delete it and run again to remake it"
) -> pa.Table:
    """Read a Parquet table and check that it has ``columns`` with these types (further columns are welcome).

    Raises AtlasError where the file is missing, truncated or damaged (``mend`` says what to do), or a column is missing
    or of another type.
    """
    if not Path(path).is_file():
        raise AtlasError(f"{path}: no such file; check the path, or make it by running snakemake")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:  # read_table would import pandas
            table = file.read()
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
