"""Checkpoints as they lie there: safetensors, in shards or not, with a `transformers` config, or GGUF."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from atlas.errors import INSTALL_LM, AtlasError
from atlas.guard.weight_checks import Mismatch

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
DAMAGED = "not a whole GGUF file ({}); fetch or copy it again"
NO_MODEL = "transformers makes no model of it ({}); verify the safetensors that it was converted from"
NO_TOKENIZER = "transformers makes no tokenizer of it ({}); take the folder of safetensors that it was converted from"
NO_VALUES = "cannot be dequantised ({}); convert the model in another quantisation, such as Q8_0"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The tensors of a checkpoint by name, as they lie there."""

    tensors: Mapping[str, Tensor]
    misplaced: tuple[Mismatch, ...] = ()  # what the index of shards and the shards say differently
    stored: Mapping[str, str] = field(default_factory=dict)  # of GGUF: each tensor's kind


def read_tensors(checkpoint: Path | str) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file of Atlas's own into memory of their own; ``reading`` reads others'.

    Raises AtlasError where the file is missing, truncated or has a broken header.
    """
    try:
        return dict(parse_safetensors(Path(checkpoint).read_bytes()))
    except (FileNotFoundError, IsADirectoryError):
        raise AtlasError(f"{checkpoint}: {MISSING}") from None
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise AtlasError(f"{checkpoint}: not a whole safetensors file ({reason}); {REMEDY}") from None


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
            name, values = self._reordered(entry, self.numbers(entry), found)
            if name is not None:
                found[name] = torch.from_numpy(np.array(values, np.float32))
        return found

    @property
    def entries(self) -> list[Any]:
        """The tensors as the file has them: ``name``, ``tensor_type``, ``data``."""
        return list(self._reader.tensors)

    def numbers(self, entry: Any, data: np.ndarray | None = None) -> np.ndarray:
        """The numbers that an entry stands for, or ``data`` in its place, in the file's order."""
        from gguf import dequantize

        with _told(f"{self.path}: {entry.name} is {entry.tensor_type.name}", NO_VALUES), np.errstate(all="ignore"):
            values: np.ndarray = dequantize(entry.data if data is None else data, entry.tensor_type)
        return values  # whether they are finite is a check of its own

    def places(self, entry: Any, shape: tuple[int, ...]) -> tuple[str | None, np.ndarray]:
        """The name of an entry in `transformers`, and of each of its numbers there the place in the file."""
        return self._reordered(entry, np.arange(math.prod(shape)).reshape(shape), {})

    def _reordered(self, entry: Any, values: np.ndarray, found: dict[str, Tensor]) -> tuple[str | None, np.ndarray]:
        """One tensor as `transformers` has it: GGUF holds the rows of q and k of a Llama in another order, say.

        A tensor of the wrong shape is left as it is. Where the name is None, `transformers` joined the tensor to
        others (experts) and put it into ``found`` itself.
        """
        name = self._named(entry.name)
        expected = self._model.state_dict().get(name)
        if expected is None or (expected.ndim < 3 and sorted(expected.shape) != sorted(values.shape)):
            return name, values
        with _told(f"{self.path}: {entry.name} is {entry.tensor_type.name}", NO_VALUES):
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
