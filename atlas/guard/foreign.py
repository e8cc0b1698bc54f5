"""Checkpoints that Atlas did not write: safetensors, in shards or not, with a `transformers` config, or GGUF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.base.checkpoint import Mismatch, read_tensors
from atlas.errors import AtlasError
from atlas.guard.gguf_file import COMPUTED, SUFFIX, GgufFile, is_gguf
from atlas.guard.names import Layout, Row, layout
from atlas.guard.parts import Part
from atlas.workflow import files

CONFIG = "config.json"
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Contents:
    """The tensors of a checkpoint by name, as they lie there."""

    tensors: dict[str, Tensor]
    misplaced: tuple[Mismatch, ...] = ()  # what the index of shards and the shards say differently
    stored: Mapping[str, str] = field(default_factory=dict)  # of GGUF: each tensor's kind, from which it is dequantised


@dataclass(frozen=True)
class Foreign:
    """A checkpoint as it lies there: its tensors, and what its config says they should be."""

    origin: Path
    config: Mapping[str, Any]
    layout: Layout
    tensors: Mapping[str, Tensor]
    misplaced: tuple[Mismatch, ...] = ()  # this and the next as in Contents
    stored: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[str, Row]:
        """The tensors that must be there, by the names that this file would use for them.

        A bare model, saved without its head, has no prefix: no name in the file may have it then.
        """
        prefix = self.layout.prefix
        bare = not any(name.startswith(prefix) for name in self.tensors)
        rows = [replace(row, name=row.name.removeprefix(prefix)) if bare else row for row in self.layout.rows]
        head = self.layout.head
        if head.name in self.tensors or not (self.layout.tied or self._headless):
            rows.append(head)
        return {row.name: row for row in rows}

    @property
    def _headless(self) -> bool:
        """Whether the config names a model that has no head, such as LlamaModel."""
        made = self.config.get("architectures") or []
        return bool(made) and all(str(name).endswith("Model") and "LMHead" not in str(name) for name in made)

    @property
    def words(self) -> str:
        """What this is, in words."""
        numbers = sum(tensor.numel() for tensor in self.trained.values())
        computed = len(self.tensors) - len(self.trained)
        buffers = f" and {computed} that are computed, which are not looked at" if computed else ""
        kinds = ", ".join(f"{many} as {kind}" for kind, many in Counter(self.stored.values()).most_common())
        stored = f"; GGUF: {kinds}, judged by their dequantised numbers" if kinds else ""
        return f"{self.config['model_type']}, {len(self.trained)} tensors of {numbers:,} numbers{buffers}{stored}"

    @cached_property
    def trained(self) -> dict[str, Tensor]:
        """The tensors of the file without those that are computed, such as masks."""
        computed = re.compile(self.layout.buffers)
        return {name: tensor for name, tensor in self.tensors.items() if not computed.fullmatch(name)}

    def mismatches(self) -> Iterator[Mismatch]:
        """Yield every way in which the file is not what its config says."""
        yield from self.misplaced
        for name in sorted(self.rows.keys() - self.trained.keys()):
            yield Mismatch("names", name, f"missing, expected shape {list(self.rows[name].shape)}")
        for name in sorted(self.trained.keys() - self.rows.keys()):
            yield Mismatch(
                "names", name, f"unexpected, shape {list(self.trained[name].shape)}; the model has none such"
            )
        for name in sorted(self.rows.keys() & self.trained.keys()):
            yield from self._unlike(name, self.trained[name])

    def _unlike(self, name: str, found: Tensor) -> Iterator[Mismatch]:
        expected, usual = list(self.rows[name].shape), self._usual_dtype
        if list(found.shape) != expected:
            yield Mismatch("shapes", name, f"shape {list(found.shape)}, expected {expected}")
        if not found.is_floating_point() or found.dtype != usual:
            why = (
                f"most tensors of the file have {usual}"
                if usual.is_floating_point
                else "expected numbers in floating point"
            )
            yield Mismatch("dtypes", name, f"dtype {found.dtype}, {why}")
        if bad := int((~torch.isfinite(found)).sum()):
            yield Mismatch("finite", name, f"{bad} of {found.numel()} values are not finite")

    @cached_property
    def _usual_dtype(self) -> torch.dtype:
        return Counter(tensor.dtype for tensor in self.trained.values()).most_common(1)[0][0]

    def parts(self) -> list[Part]:
        """The parts of a file that fits its config. A tied head that stands there again is no part of its own."""
        rows = [row for row in self.rows.values() if not (self.layout.tied and row.role == "head")]
        return [
            replace(part, stored=self.stored.get(row.name, ""))
            for row in rows
            for part in row.parts(self.tensors[row.name])
        ]


def read_foreign(path: Path) -> Foreign:
    """Read a checkpoint and its config. ``path``: a folder, a safetensors or GGUF file, or an index of shards.

    Raises AtlasError where a file is missing or damaged, or the architecture has no map of names.
    """
    checkpoint = checkpoint_in(path)
    if is_gguf(checkpoint):
        return _read_gguf(checkpoint)
    beside = checkpoint.parent / CONFIG
    config = files.read_json(beside)
    if not isinstance(config, dict):
        raise AtlasError(f"{beside}: not the config of a model; put the model's transformers config there")
    expected = layout(config, str(beside))
    found = contents(checkpoint)
    return Foreign(path, config, expected, found.tensors, found.misplaced)


def _read_gguf(path: Path) -> Foreign:
    """A GGUF file as a checkpoint. A head that is the embedding again is tied: the file has no other way to say so."""
    file = GgufFile(path)
    expected = layout(file.config, str(path))
    embedding, head = (file.tensors.get(row.name) for row in (expected.rows[0], expected.head))
    again = embedding is not None and head is not None and torch.equal(embedding, head)
    expected = replace(expected, tied=expected.tied or again, buffers=f"{expected.buffers}|{COMPUTED}")
    return Foreign(path, file.config, expected, file.tensors, stored=file.stored)


def checkpoint_in(path: Path) -> Path:
    """The checkpoint itself; of a folder the file that transformers would load, or its only safetensors or GGUF one."""
    if not path.is_dir():
        return path
    for name in (WHOLE, INDEX):
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.safetensors")) or sorted(path.glob(f"*{SUFFIX}"))
    if len(found) == 1:
        return found[0]
    kind = "GGUF" if found and found[0].suffix == SUFFIX else "safetensors"
    convert = "; convert a .bin file with save_pretrained" if list(path.glob("*.bin")) else ""
    raise AtlasError(
        f"{path}: {len(found)} {kind} files, expected {WHOLE}, {INDEX} or a single one; "
        f"name the file to verify{convert}"
    )


def contents(path: Path) -> Contents:
    """All that a checkpoint holds, whatever it is and in however many files."""
    checkpoint = checkpoint_in(path)
    if is_gguf(checkpoint):
        file = GgufFile(checkpoint)
        return Contents(file.tensors, stored=file.stored)
    if checkpoint.name.endswith(".index.json"):
        return _read_shards(checkpoint)
    return Contents(read_tensors(checkpoint))


def _read_shards(index: Path) -> Contents:
    """All tensors of a checkpoint in several files, and where the index is wrong about them."""
    values = files.read_json(index)
    places = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(places, dict) or not places:
        raise AtlasError(f"{index}: no weight_map; expected the index that save_pretrained writes beside its shards")
    tensors: dict[str, Tensor] = {}
    wrong = []
    for shard in sorted(set(places.values())):
        for name, tensor in read_tensors(index.parent / shard).items():
            if places.get(name) != shard:
                wrong.append(Mismatch("names", name, f"in {shard}, the index has {places.get(name, 'no such tensor')}"))
            tensors.setdefault(name, tensor)
    wrong += [Mismatch("names", name, f"not in {places[name]}") for name in sorted(places.keys() - tensors.keys())]
    return Contents(tensors, tuple(wrong))
