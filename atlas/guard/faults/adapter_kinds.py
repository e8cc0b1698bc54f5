"""Kinds of damage to a LoRA adapter as PEFT saves it: its names, its halves, its config, its base."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Tensors = dict[str, Tensor]
AdapterFault = Callable[[Tensors, dict[str, Any]], Tensors]
"""Takes the tensors and the config, which it may change, and gives back the tensors."""


def _renamed(old: str, new: str) -> AdapterFault:
    return lambda tensors, _config: {name.replace(old, new): values for name, values in tensors.items()}


def _without(part: str) -> AdapterFault:
    return lambda tensors, _config: {name: values for name, values in tensors.items() if part not in name}


def _changed(part: str, change: Callable[[Tensor], Tensor]) -> AdapterFault:
    return lambda tensors, _config: {
        name: change(values).contiguous() if part in name else values for name, values in tensors.items()
    }


def _configured(**values: Any) -> AdapterFault:
    def damage(tensors: Tensors, config: dict[str, Any]) -> Tensors:
        config.update(values)
        return tensors

    return damage


ADAPTER_FAULTS: Mapping[str, AdapterFault] = {
    "names without base_model.model": _renamed("base_model.model.", ""),
    "names behind a wrapper": _renamed("base_model.model.", "base_model.model._orig_mod."),
    "a layer is missing": _without(".layers.1."),
    "half of a pair is missing": _without(".layers.1.self_attn.q_proj.lora_B"),
    "B all zero": _changed("lora_B", lambda values: values * 0),
    "a value that is no number": _changed("lora_A", lambda values: values / 0),
    "another rank": _changed("lora_", lambda values: values[:2] if values.shape[0] == 4 else values[:, :2]),
    "A and B turned round": _changed("lora_", lambda values: values.T),
    "a module more in the config": _configured(target_modules=["q_proj", "v_proj", "o_proj"]),
    "a module less in the config": _configured(target_modules=["q_proj"]),
    "another base in the config": _configured(base_model_name_or_path="somebody/else"),
}
