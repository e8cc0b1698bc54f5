"""Which reader knows what a file below a results folder must hold: columns, keys, hashes, what it has to agree with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow as pa

from atlas.audit.schema import DETECTION, HONEST
from atlas.base.checkpoint import fingerprint, read_certificate, read_manifest, read_tensors
from atlas.check.formats import FORMATS
from atlas.errors import AtlasError
from atlas.pool.facts import read_pool, read_stream
from atlas.tables import checks, schema
from atlas.tables.confound import read_misloads
from atlas.ttt.editors.schema import TRACE
from atlas.ttt.schema import FACTS, MATRIX, SESSIONS, read_record
from atlas.workflow import files


class DisagreeError(AtlasError):
    """Two files do not fit together: either may be the damaged one."""


Reader = Callable[[Path], object]


def reader_of(name: PurePosixPath) -> Reader | None:
    """The reader of a file by its name below the results folder; None where nothing is known of such files."""
    for pattern, reader in READERS:
        if name.match(pattern) and len(name.parts) == len(PurePosixPath(pattern).parts):
            return reader
    return FORMATS.get(name.suffix)


def _of_run(path: Path, columns: pa.Schema, key: tuple[str, ...]) -> None:
    """A table of a run, which must agree with the run's record; a record that is broken is named by itself."""
    table = files.read_parquet(path, columns).select(columns.names)
    try:
        record = read_record(path.with_name("run.json"))
    except AtlasError:
        return
    try:
        checks.sound(path, table, record, key)
    except AtlasError as error:
        raise DisagreeError(str(error)) from None


def _base(path: Path) -> None:
    _as_in_the_manifest(path, fingerprint(read_tensors(path)), "fingerprint")


def _corpus(path: Path) -> None:
    FORMATS[".txt"](path)
    _as_in_the_manifest(path, files.sha256(path), "corpus_sha256")


def _as_in_the_manifest(path: Path, found: str, key: str) -> None:
    """A file of the base must be what the manifest says; a manifest that is broken is named by itself."""
    manifest = path.with_name("base.json")
    try:
        wanted = getattr(read_manifest(manifest), key) if manifest.is_file() else found
    except AtlasError:
        return
    if found != wanted:
        raise DisagreeError(f"{path}: {key} {found}, but {manifest} says {wanted}")


READERS: tuple[tuple[str, Reader], ...] = (
    ("pool/pool.parquet", read_pool),
    ("pool/streams/*.parquet", read_stream),
    ("base/corpus.txt", _corpus),
    ("base/base.safetensors", _base),
    ("base/base.json", read_manifest),
    ("base/certificate.json", read_certificate),
    ("ttt/*/*/run.json", read_record),
    ("ttt/*/*/facts.parquet", partial(_of_run, columns=FACTS, key=("sessions", "probe", "fact_id", "form"))),
    ("ttt/*/*/matrix.parquet", partial(_of_run, columns=MATRIX, key=("session", "fact_id"))),
    ("ttt/*/*/sessions.parquet", partial(_of_run, columns=SESSIONS, key=("session", "phase"))),
    ("ttt/trace.parquet", partial(files.read_parquet, columns=TRACE)),
    ("audit/misloaded.json", read_misloads),
    ("audit/parts/damage-*.parquet", partial(files.read_parquet, columns=DETECTION)),
    ("audit/parts/honest-*.parquet", partial(files.read_parquet, columns=HONEST)),
    ("audit/detection.parquet", partial(files.read_parquet, columns=DETECTION)),
    ("audit/false_alarms.parquet", partial(files.read_parquet, columns=HONEST)),
    *(
        (f"tables/{name.lower()}.parquet", partial(files.read_parquet, columns=columns))
        for name, columns in vars(schema).items()
        if isinstance(columns, pa.Schema)
    ),
)
