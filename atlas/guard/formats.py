"""Checkpoints as they lie there: safetensors, in shards or not, with a `transformers` config, or GGUF."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from atlas.errors import INSTALL_LM, AtlasError
from atlas.guard.blueprints import Blueprint, TensorSpec, blueprint
from atlas.guard.tensors import WeightPart
from atlas.guard.weight_checks import Mismatch, mismatches

CONFIG = "config.json"
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
REMEDY = "delete it and run snakemake to remake it"
MISSING = "no such file; check the path, or make it by running snakemake"

MAGIC, SUFFIX = b"GGUF", ".gguf"
UNKNOWN = "gguf:"  # in front of names that transformers has none for: no such name is ever taken for one of its own
COMPUTED = rf"{UNKNOWN}(rope_freqs|blk\.\d+\.attn_rot_embd)\.weight"  # factors of rotary positions
OVERLOOKED = {  # sizes that a file states, where transformers 5.23 takes the default of the architecture
    "gpt2.context_length": "n_positions",
    "gpt2.feed_forward_length": "n_inner",
    "qwen3.attention.key_length": "head_dim",
}
DAMAGED = "not a whole GGUF file ({}); fetch it again"
NO_MODEL = "transformers makes no model of it ({}); verify the safetensors that it was converted from"
NO_TOKENIZER = "transformers makes no tokenizer of it ({}); take the folder of safetensors that it was converted from"
NO_VALUES = "cannot be dequantised ({}); convert the model in another quantisation, such as Q8_0"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The tensors of a checkpoint by name, as they lie there."""

    tensors: Mapping[str, Tensor]
    misplaced: tuple[Mismatch, ...] = ()  # what the index of shards and the shards say differently
    stored: Mapping[str, str] = field(default_factory=dict)  # of GGUF: each tensor's kind, from which it is dequantised


@dataclass(frozen=True, kw_only=True)
class Foreign(Contents):
    """The checkpoint of another project: its tensors, and what its config says they should be."""

    origin: Path
    config: Mapping[str, Any]
    blueprint: Blueprint

    @cached_property
    def specs(self) -> dict[str, TensorSpec]:
        """The tensors that must be there, by the names that this file would use for them.

        A bare model, saved without its head, has no prefix: no name in the file may have it then.
        """
        prefix = self.blueprint.prefix
        bare = not any(name.startswith(prefix) for name in self.tensors)
        specs = [replace(spec, name=spec.name.removeprefix(prefix)) if bare else spec for spec in self.blueprint.specs]
        made = self.config.get("architectures") or []  # such as LlamaModel, which has no head
        headless = bool(made) and all(str(name).endswith("Model") and "LMHead" not in str(name) for name in made)
        if self.blueprint.head.name in self.tensors or not (self.blueprint.tied or headless):
            specs.append(self.blueprint.head)
        return {spec.name: spec for spec in specs}

    @cached_property
    def trained(self) -> dict[str, Tensor]:
        """The tensors of the file without those that are computed, such as masks."""
        computed = re.compile(self.blueprint.buffers)
        return {name: tensor for name, tensor in self.tensors.items() if not computed.fullmatch(name)}

    @property
    def words(self) -> str:
        """What this is, in words."""
        numbers = sum(tensor.numel() for tensor in self.trained.values())
        computed = len(self.tensors) - len(self.trained)
        buffers = f" and {computed} that are computed, which are not looked at" if computed else ""
        kinds = ", ".join(f"{many} as {kind}" for kind, many in Counter(self.stored.values()).most_common())
        stored = f"; GGUF: {kinds}, judged by their dequantised numbers" if kinds else ""
        return f"{self.config['model_type']}, {len(self.trained)} tensors of {numbers:,} numbers{buffers}{stored}"

    def mismatches(self) -> Iterator[Mismatch]:
        """Yield every way in which the file is not what its config says; dtypes are held against the usual one."""
        yield from self.misplaced
        dtypes = Counter(tensor.dtype for tensor in self.trained.values())
        usual = dtypes.most_common(1)[0][0] if dtypes else torch.float32
        dtype = f"most tensors of the file have {str(usual).removeprefix('torch.')}"
        if not usual.is_floating_point:
            usual, dtype = torch.float32, "expected numbers in floating point"
        expected = {name: torch.empty(spec.shape, dtype=usual, device="meta") for name, spec in self.specs.items()}
        yield from mismatches(self.trained, expected, dtype)

    def parts(self) -> list[WeightPart]:
        """The parts of a file that fits its config. A tied head that stands there again is no part of its own."""
        specs = [spec for spec in self.specs.values() if not (self.blueprint.tied and spec.role == "head")]
        return [
            replace(part, stored=self.stored.get(spec.name, ""))
            for spec in specs
            for part in spec.parts(self.tensors[spec.name])
        ]


def read_foreign(path: Path) -> Foreign:
    """Read a checkpoint and its config. ``path``: a folder, a safetensors or GGUF file, or an index of shards.

    Raises AtlasError where a file is missing or damaged, or the architecture has no map of names.
    """
    checkpoint = checkpoint_in(path)
    if is_gguf(checkpoint):
        return _read_gguf(checkpoint)
    beside = checkpoint.parent / CONFIG
    config = read_json(beside)
    if not isinstance(config, dict):
        raise AtlasError(f"{beside}: not the config of a model; put the model's transformers config there")
    expected = blueprint(config, str(beside))
    return Foreign(origin=path, config=config, blueprint=expected, **vars(contents(checkpoint)))


def _read_gguf(path: Path) -> Foreign:
    """A GGUF file as a checkpoint. A head that is the embedding again is tied: the file has no other way to say so."""
    file = GgufFile(path)
    expected = blueprint(file.config, str(path))
    embedding, head = (file.tensors.get(spec.name) for spec in (expected.specs[0], expected.head))
    again = embedding is not None and head is not None and torch.equal(embedding, head)
    expected = replace(expected, tied=expected.tied or again, buffers=f"{expected.buffers}|{COMPUTED}")
    return Foreign(origin=path, config=file.config, blueprint=expected, tensors=file.tensors, stored=file.stored)


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
        return Contents(tensors=file.tensors, stored=file.stored)
    if checkpoint.name.endswith(".index.json"):
        return _read_shards(checkpoint)
    return Contents(tensors=read_tensors(checkpoint))


def _read_shards(index: Path) -> Contents:
    """All tensors of a checkpoint in several files, and where the index is wrong about them."""
    values = read_json(index)
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
    return Contents(tensors=tensors, misplaced=tuple(wrong))


def read_tensors(checkpoint: Path | str) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file into memory of their own.

    Raises AtlasError where the file is missing, truncated or has a broken header.
    """
    try:
        return dict(parse_safetensors(Path(checkpoint).read_bytes()))
    except (FileNotFoundError, IsADirectoryError):
        raise AtlasError(f"{checkpoint}: {MISSING}") from None
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise AtlasError(f"{checkpoint}: not a whole safetensors file ({reason}); {REMEDY}") from None


def read_json(path: Path) -> Any:
    """Read JSON. Raises AtlasError where the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AtlasError(f"{path}: {MISSING}") from None
    except ValueError as error:  # of the text or its encoding
        raise AtlasError(f"{path}: not valid JSON ({error}); fetch it again") from None


def is_gguf(path: Path) -> bool:
    """Whether a file is GGUF by its name, or by its first bytes: some stores of models name files by their hash."""
    if path.suffix == SUFFIX or not path.is_file():
        return path.suffix == SUFFIX
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file, read as `transformers` reads it: dequantised, under its names, with the config that it makes of it.

    The loop over the tensors is our own. That of `transformers` drops every tensor that its map of names does not
    have, without a word; here such a tensor stays, marked, so that it is seen. Each part is read when it is asked for.

    Raises AtlasError where the file is cut off or not GGUF, where `transformers` makes no model of it, and where the
    packages that read it are not installed.
    """

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The `transformers` config. A file does not say whether its head is tied; one without a head is taken so."""
        made: dict[str, Any] = self._model.config.to_dict()
        return made

    def tokenizer(self) -> str:
        """The file's tokenizer, as the library `tokenizers` writes it."""
        _ = self._reader  # first: a damaged file, or a package that is missing, is told there
        from transformers import AutoTokenizer

        with _told(f"{self.path}", NO_TOKENIZER):
            made = AutoTokenizer.from_pretrained(self.path.parent, gguf_file=self.path.name)
            return str(made.backend_tokenizer.to_str())

    @cached_property
    def stored(self) -> dict[str, str]:
        """How the file stores each tensor, such as Q8_0, by the names of ``tensors``."""
        return {self._named(entry.name): entry.tensor_type.name for entry in self._reader.tensors}

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors in float32, by the names of `transformers`; those that it has no name for are ``UNKNOWN``."""
        found: dict[str, Tensor] = {}
        for entry in self._reader.tensors:
            with _told(f"{self.path}: {entry.name} is {entry.tensor_type.name}", NO_VALUES):
                name, values = self._reordered(entry, found)
            if name is not None:
                found[name] = torch.from_numpy(np.array(values, np.float32))
        return found

    def _reordered(self, entry: Any, found: dict[str, Tensor]) -> tuple[str | None, np.ndarray]:
        """One tensor as `transformers` has it: GGUF holds the rows of q and k of a Llama in another order, say.

        A tensor of the wrong shape is left as it is. Where the name is None, `transformers` joined the tensor to
        others (experts) and put it into ``found`` itself.
        """
        from gguf import dequantize

        with np.errstate(all="ignore"):  # whether numbers are finite is a check of its own
            name, values = self._named(entry.name), dequantize(entry.data, entry.tensor_type)
        expected = self._model.state_dict().get(name)
        if expected is None or (expected.ndim < 3 and sorted(expected.shape) != sorted(values.shape)):
            return name, values
        done = self._processor.process(
            weights=values, name=entry.name, tensor_key_mapping=self._names, parsed_parameters={"tensors": found}
        )
        return (None if done.name is None else name), done.weights

    def _named(self, name: str) -> str:
        return self._names.get(name, UNKNOWN + name)

    @cached_property
    def _reader(self) -> Any:
        """The head of the file, and where its tensors lie."""
        try:
            import transformers  # noqa: F401
            from gguf import GGUFReader
        except ImportError as error:
            raise AtlasError(f"{self.path}: reading GGUF takes {error.name}; {INSTALL_LM}") from None
        with _told(f"{self.path}", DAMAGED):
            return GGUFReader(self.path)

    @cached_property
    def _model(self) -> Any:
        """The model that `transformers` makes of the file, without values."""
        fields = self._reader.fields  # first: a damaged file, or a package that is missing, is told there
        from transformers import AutoConfig, AutoModelForCausalLM

        with _told(f"{self.path}", NO_MODEL), torch.device("meta"):
            config = AutoConfig.from_pretrained(self.path.parent, gguf_file=self.path.name)
            for key, name in OVERLOOKED.items():
                if key in fields:
                    setattr(config, name, int(fields[key].contents()))
            return AutoModelForCausalLM.from_config(config)

    @cached_property
    def _processor(self) -> Any:
        from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

        kind = self._reader.fields["general.architecture"].contents()
        return TENSOR_PROCESSORS.get(kind, TensorProcessor)(config=self.config)

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """Names in the file to names in `transformers`."""
        model = self._model
        from transformers.modeling_gguf_pytorch_utils import get_gguf_hf_weights_map

        with _told(f"{self.path}", NO_MODEL):
            names: Mapping[str, str] = get_gguf_hf_weights_map(model, self._processor)
        return names


@contextmanager
def _told(where: str, what: str) -> Iterator[None]:
    """Turn what the libraries raise on a file that they cannot use into one line; they do not say what that may be."""
    try:
        yield
    except Exception as error:
        raise AtlasError(f"{where}: {what.format(' '.join(str(error).split()))}") from None
