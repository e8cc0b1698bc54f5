"""Language models from outside: a folder of `transformers` with safetensors and tokenizer.json, or a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.errors import INSTALL_LM, AtlasError
from atlas.study.base_settings import Model

CONFIG = "config.json"
CONTEXT_AT_MOST = 256  # positions of the windows that a loss is measured on: what own models have
KEYS: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer"),
    "width": ("hidden_size", "n_embd"),
    "heads": ("num_attention_heads", "n_head"),
    "ffn": ("intermediate_size", "ffn_dim", "n_inner"),
    "context": ("max_position_embeddings", "n_positions"),
}
"""What a shape has, and what configs call it, architecture by architecture."""
GGUF_KEYS: Mapping[str, str] = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
}


def shape_of(path: Path) -> Model:
    """The shape of a model in a folder or a GGUF file. AtlasError where neither is there, or it does not say."""
    if path.suffix != ".gguf":
        return shape_from(read_config(path / CONFIG), str(path))
    fields = gguf_reader(path).fields
    kind = fields["general.architecture"].contents()
    named = {name: fields.get(f"{kind}.{key}") for name, key in GGUF_KEYS.items()}
    return shape_from({name: field.contents() for name, field in named.items() if field}, str(path))


def shape_from(values: Mapping[str, Any], origin: str) -> Model:
    """The shape that a config tells. AtlasError where it does not."""
    found = {key: next((values[n] for n in names if values.get(n)), None) for key, names in KEYS.items()}
    if found["ffn"] is None and found["width"]:
        found["ffn"] = 4 * int(found["width"])  # GPT-2's default
    if missing := [key for key, value in found.items() if not isinstance(value, int)]:
        names = " or ".join(KEYS[missing[0]])
        raise AtlasError(f"{origin}: the config has no {names}; give the folder of a causal language model")
    return Model.model_validate(found | {"context": min(int(found["context"] or 0), CONTEXT_AT_MOST)})


def read_config(path: Path) -> dict[str, Any]:
    """A config.json. AtlasError where it is missing or is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise AtlasError(f"{path}: no such file; give the folder that save_pretrained wrote, or a GGUF file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AtlasError(f"{path}: not valid JSON ({error}); copy the model's config anew") from None
    if not isinstance(values, dict) or "model_type" not in values:
        raise AtlasError(f"{path}: no model_type; give the config of a causal language model")
    return values


def gguf_reader(path: Path) -> Any:
    """A GGUF file by the library `gguf`. AtlasError where the library or the file is missing, or it is damaged."""
    try:
        from gguf import GGUFReader  # only such files need it
    except ImportError:
        raise AtlasError(f"{path}: reading GGUF takes the package gguf; {INSTALL_LM}") from None
    if not path.is_file():
        raise AtlasError(f"{path}: no such file; give the path of a GGUF file, or a folder of safetensors")
    try:
        reader = GGUFReader(path)
        if "general.architecture" not in reader.fields:
            raise ValueError("no general.architecture")
    except Exception as error:  # the library has no error of its own for a damaged file
        raise AtlasError(f"{path}: not a whole GGUF file ({error}); fetch it anew") from None
    return reader
