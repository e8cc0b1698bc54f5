"""Models and adapters in the formats that transformers and PEFT load by themselves.

A model is a folder of config.json and model.safetensors, with a tokenizer that reads characters as Atlas does. An
adapter is a folder of adapter_config.json and adapter_model.safetensors, as ``PeftModel.from_pretrained`` takes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_safetensors
from torch import Tensor

from atlas.base.model import opt_config
from atlas.base.text import SYMBOLS
from atlas.errors import AtlasError
from atlas.guard.formats import read_tensors
from atlas.study.base_settings import Model
from atlas.ttt.engine.lanes import LaneModel
from atlas.workflow import files

MODEL = {"config": "config.json", "weights": "model.safetensors"}
ADAPTER = {"config": "adapter_config.json", "weights": "adapter_model.safetensors"}
INSIDE = "base_model.model."  # where PEFT holds the model that it adapts
PLAIN: dict[str, tuple[Any, ...]] = {  # what makes an adapter more than two matrices a layer, and no tensor shows
    "use_dora": (False,),
    "use_qalora": (False,),
    "alora_invocation_tokens": (),
    "layer_replication": (),
    "init_lora_weights": (True, False, "gaussian"),  # others change the base, too
}
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
    most = max(ranks.values())
    config = {
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
    turned = {f"{INSIDE}{name}.weight": tensor.T for name, tensor in lane.items()}  # PEFT's are (out, in)
    with files.together(folder / ADAPTER["config"]) as stage:
        _weights(stage / ADAPTER["weights"], turned)
        files.write_json(stage / ADAPTER["config"], config)


def _weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.write_bytes(to_safetensors(whole, metadata={"format": "pt"}))  # transformers reads only files that say "pt"


def files_of(folder: Path) -> list[Path]:
    """The files of an adapter. AtlasError where one is missing."""
    found = [folder / name for name in ADAPTER.values()]
    for path in found:
        if not path.is_file():
            raise AtlasError(f"{path}: no such file; name the folder that PEFT's save_pretrained wrote")
    return found


def read_adapter(folder: Path, adapters: LaneModel) -> Tensor:
    """An adapter that PEFT wrote, as ``theta`` of one lane, float32 (1, parameters).

    Where its scale is not the arm's alpha / rank, the difference goes into B: what it adds is the same.
    Raises AtlasError where it is not plain LoRA, or not on the same layers or of the same ranks as the arm.
    """
    config_path, weights = files_of(folder)
    config = files.read_json(config_path)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AtlasError(f"{config_path}: not the config of a LoRA adapter; expected peft_type LORA")
    for key, plain in PLAIN.items():
        if (used := config.get(key)) is not None and used not in plain:
            raise AtlasError(f"{config_path}: {key} is {used!r}; expected plain LoRA, which has none of that")
    outside = {slot.site.path: adapters.model.outside(slot.site.path) for slot in adapters.slots}
    inside = {theirs: own for own, theirs in outside.items()}
    found = {}
    for name, tensor in read_tensors(weights).items():
        path, _, side = name.removeprefix(INSIDE).removesuffix(".weight").rpartition(".")
        found[f"{inside.get(path, path)}.{side}"] = tensor
    if odd := sorted(found.keys() ^ {*adapters.names}):
        whose = "the adapter has no such tensor" if odd[0] in adapters.names else "the arm has no adapter there"
        raise AtlasError(f"{weights}: {odd[0]}: {whose}; let the arm's targets and ranks be those of the adapter")
    for slot in adapters.slots:
        path, rank = slot.site.path, slot.module.shapes["lora_A"][1]
        for side, (rows, columns) in slot.module.shapes.items():  # PEFT's are (out, in)
            if (shape := list(found[f"{path}.{side}"].shape)) != [columns, rows]:
                expected = f"{[columns, rows]} for rank {rank}; let the arm's ranks be those of the adapter"
                raise AtlasError(f"{weights}: {path}.{side}: shape {shape}, expected {expected}")
        found[f"{path}{B}"] = found[f"{path}{B}"] * (_scale(config, outside[path], rank) / slot.module.scale)
    return adapters.joined({name: tensor.float().T[None].contiguous() for name, tensor in found.items()})


def _scale(config: Mapping[str, Any], path: str, rank: int) -> float:
    """What the addition to a layer is scaled by: by the first pattern that its path ends with, as PEFT does."""
    patterns = config.get("alpha_pattern") or {}
    fits = (alpha for name, alpha in patterns.items() if re.fullmatch(rf"(.*\.)?({name})", path))
    alpha = float(next(fits, config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


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
