"""Tiny GGUF files, written as llama.cpp's converter writes them: its names, its order of rows, its kinds of storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

from tests.guard.foreign_models import CONFIGS, model_of

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
# bytes as GPT-2 spells them: a space and a line end are letters with signs
PIECES = ["!", *"abcdefghijklmnopqrstuvwxyz", "\u0120", "\u010a", ",", ".", *"01234567", "th"]
TURNED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2's, which transformers holds as (in, out)


def written(path: Path, name: str, kind: Kind = Kind.F32, model: Any = None, **tensors: np.ndarray | None) -> Path:
    """Write a model of ``CONFIGS`` as if it were trained, matrices stored as ``kind`` where their rows allow it.

    Args:
        path: file to write.
        name: the model, whose weights are those of ``model`` if given.
        kind: how matrices are stored; half precision where their rows are not made of whole blocks.
        model: any model of the same config.
        tensors: by the file's names, values to write instead or on top; None leaves a tensor out.
    """
    found = as_stored(model or model_of(name, trained=True)) | tensors
    writer = gguf.GGUFWriter(path, CONFIGS[name].model_type)
    _describe(writer, CONFIGS[name])
    for tensor, values in found.items():
        if values is not None:
            stored = _kind(values, kind)
            writer.add_tensor(tensor, gguf.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def as_stored(model: Any) -> dict[str, np.ndarray]:
    """The tensors of a model under the names, and in the order of rows, that the file has."""
    config = model.config
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    found = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy().T if name.endswith(TURNED) else tensor.numpy()
        if config.model_type == "llama" and ".q_proj." in name:
            values = _paired(values, config.num_attention_heads)
        if config.model_type == "llama" and ".k_proj." in name:
            values = _paired(values, config.num_key_value_heads)
        found[names.get_name(name, try_suffixes=(".weight", ".bias"))] = np.ascontiguousarray(values)
    return found


def _paired(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k as llama.cpp holds those of a Llama: the two numbers that a rotation turns side by side."""
    halves = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _kind(values: np.ndarray, kind: Kind) -> Kind:
    if values.ndim < 2:
        return Kind.F32
    return kind if values.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0 else Kind.F16


def _describe(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(PIECES)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.model_type != "qwen2":
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_key_length(config.head_dim)
