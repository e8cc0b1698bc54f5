"""Other configs under which the same weights would load: on a little text, none of them predicts better.

How many heads a matrix is cut into, how fast rotary positions turn, which activation stands between two matrices: no
tensor tells, and a model runs under each of them. Here the same parameters, not copies, are run under another config.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

THETAS = (1e4, 1e5, 5e5, 1e6)  # that models are published with
SHARES = (0.25, 0.5, 1.0)  # of a head's dimensions that turn
ACTIVATIONS = ("silu", "gelu", "gelu_new", "relu")
CHOICES = {
    "hidden_act": ACTIVATIONS,
    "activation_function": ACTIVATIONS,
    "use_parallel_residual": (True, False),
    "do_layer_norm_before": (True, False),
}


def others(config: Any) -> Iterator[tuple[str, Any]]:
    """Configs that differ in one thing from a `transformers` config, each with what it says in words."""
    yield from _other_heads(config)
    rope = getattr(config, "rope_parameters", None) or {}
    for key, values in (("rope_theta", THETAS), ("partial_rotary_factor", SHARES)):
        for value in values:
            if rope.get(key, value) != value:
                yield f"{key} {value:g}", _with(config, {"rope_parameters": {**rope, key: value}})
    for key, choices in CHOICES.items():
        for choice in choices:
            if getattr(config, key, choice) != choice:
                yield f"{key} {choice}", _with(config, {key: choice})


def _other_heads(config: Any) -> Iterator[tuple[str, Any]]:
    """Twice and half the heads, of keys and values, too, so that the shapes of the matrices stay what they are."""
    keys = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": -1}
    for factor in (2.0, 0.5):
        new = {key: was * factor**power for key, power in keys.items() if (was := getattr(config, key, None))}
        if all(value >= 1 and value == int(value) for value in new.values()):
            yield (
                f"num_attention_heads {new['num_attention_heads']:g}",
                _with(config, {k: int(v) for k, v in new.items()}),
            )


def _with(config: Any, keys: dict[str, Any]) -> Any:
    made = copy.deepcopy(config)
    for key, value in keys.items():
        setattr(made, key, value)
    return made


def under(model: nn.Module, config: Any) -> nn.Module | None:
    """A model of the same class and parameters under another config; None where that cannot hold them."""
    try:
        with torch.device("meta"):
            made: nn.Module = type(model)(config)
        made.load_state_dict(model.state_dict(), strict=False, assign=True)
    except (
        RuntimeError,
        ValueError,
        AttributeError,
        KeyError,
    ):  # what classes and torch raise on sizes that do not fit
        return None
    device = next(model.parameters()).device
    for path, module in [*made.named_modules()]:
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            parent, _, name = path.rpartition(".")
            try:  # tables of positions, worked out from the config
                setattr(made.get_submodule(parent), name, type(module)(config).to(device))
            except (TypeError, ValueError, AttributeError, KeyError):
                return None
    if any(tensor.is_meta for tensor in (*made.parameters(), *made.buffers())):
        return None
    return made.requires_grad_(False).eval()
