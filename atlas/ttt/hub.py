"""Models and adapters in the formats that transformers and PEFT load by themselves.

A model is a folder of config.json and model.safetensors, with a tokenizer that reads characters as Atlas does. An
adapter is a folder of adapter_config.json and adapter_model.safetensors, as ``PeftModel.from_pretrained`` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_safetensors
from torch import Tensor

from atlas import files
from atlas.base.model import opt_config
from atlas.base.text import SYMBOLS
from atlas.materials import Model

MODEL = {"config": "config.json", "weights": "model.safetensors"}
ADAPTER = {"config": "adapter_config.json", "weights": "adapter_model.safetensors"}
INSIDE = "base_model.model."  # where PEFT holds the model that it adapts
A, B = ".lora_A", ".lora_B"  # the ends of our names of an adapter's two matrices


def write_model(folder: Path, weights: Mapping[str, Tensor], shape: Model) -> None:
    """Write a model of our own shape, by its tensors' names, as a folder that transformers loads as an OPT."""
    with files.together(folder / MODEL["config"]) as stage:
        _weights(stage / MODEL["weights"], weights)
        files.write_json(stage / "tokenizer.json", tokenizer())
        files.write_json(stage / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
        files.write_json(stage / MODEL["config"], opt_config(shape))


def write_adapter(folder: Path, lane: Mapping[str, Tensor], alpha: float, base: str) -> None:
    """Write one lane's LoRA adapter as PEFT does.

    Args:
        folder: to be written.
        lane: tensors by name, ``PATH.lora_A`` (in, rank) and ``PATH.lora_B`` (rank, out).
        alpha: LoRA's alpha; what is added to a layer is scaled by alpha / rank, with that layer's rank.
        base: where the model is that it adapts.
    """
    ranks = {name.removesuffix(A): tensor.shape[1] for name, tensor in lane.items() if name.endswith(A)}
    turned = {f"{INSIDE}{name}.weight": tensor.T for name, tensor in lane.items()}  # PEFT's are (out, in)
    with files.together(folder / ADAPTER["config"]) as stage:
        _weights(stage / ADAPTER["weights"], turned)
        files.write_json(stage / ADAPTER["config"], adapter_config(ranks, alpha, base))


def _weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.write_bytes(to_safetensors(whole, metadata={"format": "pt"}))  # transformers reads only files that say "pt"


def adapter_config(ranks: Mapping[str, int], alpha: float, base: str) -> dict[str, Any]:
    """PEFT's description of an adapter (content of adapter_config.json), from the rank of each layer that has one."""
    most = max(ranks.values())
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": most,
        "lora_alpha": alpha,
        "rank_pattern": {path: rank for path, rank in ranks.items() if rank != most},
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
    }


def tokenizer() -> dict[str, Any]:
    """Our text, a token a character, as the ``tokenizers`` library describes one (content of tokenizer.json)."""
    every_character = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": every_character,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": {symbol: at for at, symbol in enumerate(SYMBOLS)}, "unk_token": "\n"},
    }
