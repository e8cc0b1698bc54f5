"""Whether a file is whole, by its format alone: what can be said where nothing else is known of it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import torch

from atlas.base.checkpoint import read_tensors
from atlas.errors import AtlasError
from atlas.workflow.files import read_json, read_parquet, read_text

PNG = b"\x89PNG\r\n\x1a\n"


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
    found = read_text(path)
    if not found.strip("\0 \n"):
        raise AtlasError(f"{path}: empty")
    return found


FORMATS: Mapping[str, Callable[[Path], object]] = MappingProxyType(
    {
        ".html": html,
        ".json": read_json,
        ".md": text,
        ".parquet": read_parquet,
        ".png": png,
        ".safetensors": tensors,
        ".svg": svg,
        ".txt": text,
    }
)
