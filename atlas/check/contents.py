"""Which reader knows what a file below a results folder must hold: columns, keys, hashes, what it has to agree with.

Of a file of which nothing else is known, its format alone says whether it is whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from xml.etree import ElementTree

import pyarrow as pa
import torch

from atlas.audit.audit_columns import DETECTION, HONEST, VIEWS
from atlas.base.checkpoint import read_certificate, read_manifest
from atlas.charts.gallery import GALLERY
from atlas.errors import AtlasError
from atlas.guard.formats import read_tensors
from atlas.guard.tensors import fingerprint
from atlas.pool.facts import SKIPPED, read_pool, read_stream
from atlas.tables import columns as table_columns
from atlas.tables import runs
from atlas.tables.confound import read_misloads
from atlas.ttt.editors.trace_columns import TRACE
from atlas.ttt.locate_columns import KNOCKOUTS, SLOTS
from atlas.ttt.measured import read_measured
from atlas.ttt.run_files import FACTS, MATRIX, SESSIONS, read_record
from atlas.workflow import files

PNG = b"\x89PNG\r\n\x1a\n"


class DisagreeError(AtlasError):
    """Two files do not fit together: either may be the damaged one."""


Reader = Callable[[Path], object]


def is_published(name: PurePosixPath) -> bool:
    """Whether a step writes a file of this name below the results folder; others are the user's own."""
    return _by_pattern(name) is not None


def reader_of(name: PurePosixPath) -> Reader | None:
    """The reader of a file by its name below the results folder; None where nothing is known of such files."""
    return _by_pattern(name) or FORMATS.get(name.suffix)


def _by_pattern(name: PurePosixPath) -> Reader | None:
    matching = (
        reader
        for pattern, reader in READERS
        if name.match(pattern) and len(name.parts) == len(PurePosixPath(pattern).parts)
    )
    return next(matching, None)


def _of_run(path: Path, columns: pa.Schema, key: tuple[str, ...]) -> None:
    """A table of a run, which must agree with the run's record; a record that is broken is named by itself."""
    table = files.read_parquet(path, columns).select(columns.names)
    try:
        record = read_record(path.with_name("run.json"))
    except AtlasError:
        return
    try:
        runs.sound(path, table, record, key)
    except AtlasError as error:
        raise DisagreeError(str(error)) from None


def _corpus(path: Path) -> None:
    text(path)
    _as_in_a_manifest(path, sorted(path.parent.glob("*/base.json")), "corpus_sha256", files.sha256(path))


def _weights(path: Path) -> None:
    _as_in_a_manifest(path, [path.with_name("base.json")], "fingerprint", fingerprint(read_tensors(path)))


def _as_in_a_manifest(path: Path, manifests: Sequence[Path], key: str, found: str) -> None:
    """A file of the bases must be what a manifest says; a manifest that is lost or broken is named by itself, and one
    that a study with more replicas has left behind may be of another corpus."""
    said = {}
    for manifest in manifests:
        with suppress(AtlasError):
            said[getattr(read_manifest(manifest), key)] = manifest
    if said and found not in said:
        wanted, manifest = next(iter(said.items()))
        raise DisagreeError(f"{path}: {key} {found}, but {manifest} says {wanted}")


def png(path: Path) -> None:
    """Every chunk has the checksum that it carries, from the first (IHDR) to the last (IEND)."""
    data = path.read_bytes()
    if not data.startswith(PNG + b"\x00\x00\x00\rIHDR"):
        raise AtlasError(f"{path}: not a PNG picture")
    at, kind = len(PNG), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise AtlasError(f"{path}: a PNG picture that is cut off after {len(data):,} bytes")
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[at + 4 : end])):
            raise AtlasError(f"{path}: a PNG picture that is damaged or cut off at byte {at:,} of {len(data):,}")
        at = end + 4
    if at != len(data):
        raise AtlasError(f"{path}: {len(data) - at:,} bytes after the end of the PNG picture")


def svg(path: Path) -> None:
    """Well-formed XML whose root is an svg."""
    try:
        root = ElementTree.fromstring(text(path))
    except ElementTree.ParseError as error:
        raise AtlasError(f"{path}: not a whole SVG picture ({error})") from None
    if root.tag.rpartition("}")[2] != "svg":
        raise AtlasError(f"{path}: not an SVG picture but <{root.tag}>")


def html(path: Path) -> None:
    """Begins and ends as a page does."""
    whole = text(path).strip().lower()
    if not (whole.startswith(("<!doctype html", "<html")) and whole.endswith("</html>")):
        raise AtlasError(f"{path}: not a whole HTML page, which begins with <!doctype html> and ends with </html>")


def tensors(path: Path) -> None:
    """The header fits the file, and every value is finite."""
    for name, tensor in read_tensors(path).items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise AtlasError(f"{path}: tensor {name} has values that are not finite")


def text(path: Path) -> str:
    """UTF-8, and not empty; the text."""
    found = files.read_text(path)
    if not found.strip("\0 \n"):
        raise AtlasError(f"{path}: empty")
    return found


FORMATS: Mapping[str, Reader] = MappingProxyType(
    {
        ".html": html,
        ".js": text,
        ".json": files.read_json,
        ".md": text,
        ".parquet": files.read_parquet,
        ".png": png,
        ".safetensors": tensors,
        ".svg": svg,
        ".txt": text,
    }
)

# of these the format alone says whether they are whole
OF_ONE_FORMAT = (
    "base/*/config.json",
    "base/*/lm.json",
    "base/*/tokenizer.json",
    "ttt/pool.parquet",
    "ttt/covariance-*.safetensors",
    "ttt/*/*/adapters.safetensors",
    "search/*/*.parquet",
    "audit/misloaded-*/base.safetensors",
    "audit/misloaded-*/config.json",
    "tables/given/*.json",
    "tables/given/*.txt",
    *(f"charts/{chart.name}{suffix}" for chart in GALLERY for suffix in (".json", ".html", ".svg", ".png")),
    "charts/claims.md",
    "charts/vega.js",
    "charts/vega_page.js",
    "index.html",
    "report.html",
)

KNOCKOUT = ("change", "unit", "first_layer", "role", "half", "probe", "session_taught")

READERS: tuple[tuple[str, Reader], ...] = (
    ("pool/pool.parquet", read_pool),
    ("pool/skipped.parquet", partial(files.read_parquet, columns=SKIPPED)),
    ("pool/streams/*.parquet", read_stream),
    ("base/corpus.txt", _corpus),
    ("base/*/base.safetensors", _weights),
    ("base/*/base.json", read_manifest),
    ("base/*/certificate.json", read_certificate),
    ("ttt/base-*.parquet", read_measured),
    ("ttt/*/*/run.json", read_record),
    ("ttt/*/*/facts.parquet", partial(_of_run, columns=FACTS, key=("sessions", "probe", "fact_id", "form"))),
    ("ttt/*/*/matrix.parquet", partial(_of_run, columns=MATRIX, key=("session", "fact_id"))),
    ("ttt/*/*/sessions.parquet", partial(_of_run, columns=SESSIONS, key=("session", "phase"))),
    ("ttt/*/*/knockouts.parquet", partial(_of_run, columns=KNOCKOUTS, key=KNOCKOUT)),
    ("ttt/*/*/slots.parquet", partial(_of_run, columns=SLOTS, key=("first_layer", "role"))),
    ("ttt/trace.parquet", partial(files.read_parquet, columns=TRACE)),
    ("audit/misloaded.json", read_misloads),
    ("audit/parts/damage-*.parquet", partial(files.read_parquet, columns=DETECTION)),
    ("audit/parts/honest-*.parquet", partial(files.read_parquet, columns=HONEST)),
    ("audit/detection.parquet", partial(files.read_parquet, columns=DETECTION)),
    ("audit/views.parquet", partial(files.read_parquet, columns=VIEWS)),
    ("audit/false_alarms.parquet", partial(files.read_parquet, columns=HONEST)),
    *((pattern, FORMATS[PurePosixPath(pattern).suffix]) for pattern in OF_ONE_FORMAT),
    *(
        (f"tables/{name.lower()}.parquet", partial(files.read_parquet, columns=columns))
        for name, columns in vars(table_columns).items()
        if isinstance(columns, pa.Schema)
    ),
)
